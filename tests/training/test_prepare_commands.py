"""Commands that prepare data sets, as descriptions and docs/evaluation.md tell to type them: converters take them."""

import re
import shlex

import pytest

from tests.conftest import REPOSITORY
from tests.training.converters import DATASETS, converter
from training.data.catalog import describe

PAGE = (REPOSITORY / "docs" / "evaluation.md").read_text(encoding="utf-8")
DESCRIBED = {path.stem: describe(path.stem) for path in DATASETS.glob("*.yaml") if "suite:" not in path.read_text()}
TYPED = re.findall(r"^ *python datasets/(prepare_\w+)\.py (.*)$", PAGE, re.MULTILINE)
TOLD = [
    found for one in DESCRIBED.values() for found in re.findall(r"python datasets/(prepare_\w+)\.py (.*)", one.prepare)
]


@pytest.mark.parametrize(("name", "rest"), sorted({*TYPED, *TOLD}))
def test_converters_take_them(name, rest, monkeypatch, tmp_path):
    module = converter(name)
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path))
    monkeypatch.setattr(module, "run_converter", lambda *_: 0)
    arguments = [word.replace("$DICO_DATASETS", str(tmp_path)) for word in shlex.split(rest)]
    assert module.main(arguments) == 0


@pytest.mark.parametrize("name", sorted(path.stem for path in DATASETS.glob("prepare_*.py")))
def test_a_mistyped_source_is_told_with_what_must_be_there(name, tmp_path, capsys):
    source = tmp_path / "mistyped" / "source.json"
    assert converter(name).main([str(source), str(tmp_path / "output")]) == 1
    told = capsys.readouterr().err
    assert f"{source} (nor a folder {tmp_path / 'mistyped'}). It must be " in told and "; " in told.split("It must")[1]
    assert "Errno" not in told and not (tmp_path / "output").exists()


def test_other_mistyped_paths(tmp_path, capsys):
    nowhere, output = str(tmp_path / "nowhere"), str(tmp_path / "output")
    commands = {
        "prepare_ade20k": [["--parts", nowhere], ["--parts", str(tmp_path), "--part-names", nowhere]],
        "prepare_sa1b": [["--ids", nowhere], ["--ids", nowhere, "--archives", output]],
    }
    (tmp_path / "ADE_val_00000001.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16) + b"\x10\0")
    for name, options in commands.items():
        for more in options:
            assert converter(name).main([str(tmp_path), output, *more]) == 1
            assert f"{nowhere}. It must be " in (told := capsys.readouterr().err) and "Errno" not in told


def test_every_converter_is_told_of():
    scripts = {path.stem for path in DATASETS.glob("prepare_*.py")}
    assert scripts == {name for name, _ in TYPED} == {name for name, _ in TOLD}

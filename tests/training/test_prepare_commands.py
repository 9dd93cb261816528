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


def test_every_converter_is_told_of():
    scripts = {path.stem for path in DATASETS.glob("prepare_*.py")}
    assert scripts == {name for name, _ in TYPED} == {name for name, _ in TOLD}

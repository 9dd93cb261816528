"""What the README and the pages it leads to tell people to type works, and what they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import PIL.Image
import pytest

from benchmarks.run_all import find_scripts
from dico import cli
from dico.config import load_config
from dico.export import FORMATS
from dico.store import MaskStore
from tests.conftest import REPOSITORY, draw

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), REPOSITORY / "benchmarks" / "README.md"])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.S | re.M)
README = REPOSITORY / "README.md"


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(program: str) -> list[list[str]]:
    lines = [line for page in PAGES for text in blocks(page, "") for line in text.splitlines()]
    words = (shlex.split(line, comments=True) for line in lines)
    return [each for each in words if each and Path(each[0]).name == program]


def identify(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


@pytest.mark.parametrize("words", commands("dico"), ids=identify)
def test_commands_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    seen = []
    for name in ("label", "view", "export", "evaluate", "merge", "verify", "info"):
        monkeypatch.setattr(cli, name, lambda args: seen.append(args) or cli.DONE)
    assert cli.main(words[1:]) == cli.DONE
    (args,) = seen
    if args.command == "label":
        load_config(args.config, args.overrides)
    if args.command == "export":
        assert args.format in FORMATS


def test_the_readme_shows_every_command_and_format() -> None:
    shown = commands("dico")
    assert {words[1] for words in shown} == {"label", "view", "export", "eval", "merge", "verify", "info"}
    assert {words[words.index("--format") + 1] for words in shown if words[1] == "export"} == set(FORMATS)


@pytest.mark.parametrize("words", commands("make"), ids=identify)
def test_targets_exist(words: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words[1]}:", makefile, flags=re.M)


@pytest.mark.parametrize("words", commands("python"), ids=identify)
def test_scripts_exist(words: list[str]) -> None:
    script = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
    assert (REPOSITORY / script).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_benchmarks_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"-m benchmarks\.(\w+)", page.read_text(encoding="utf-8"))
    assert set(named) <= {*find_scripts(), "run_all", "NAME"}


@pytest.mark.parametrize("words", commands("pip"), ids=identify)
def test_extras_exist(words: list[str]) -> None:
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    for extra in re.findall(r"\[([\w,]+)\]", identify(words)):
        assert all(f'"{name}": ' in setup for name in extra.split(","))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:configs|benchmarks|tools|dico|tests|docs)/[\w./-]*\.\w+", text)
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_pictures_are_small() -> None:
    pictures = list((REPOSITORY / "docs" / "images").iterdir())
    assert pictures and all(picture.stat().st_size < 300_000 for picture in pictures)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    PIL.Image.fromarray(draw()).save(tmp_path / "photo.jpg")
    PIL.Image.fromarray(draw()).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    first, second = blocks(README, "python")
    names: dict[str, object] = {}
    exec(first, names)
    assert len(names["masks"]) == len(names["masks_NHW"]) == len(names["annotations"]) > 0  # type: ignore[arg-type]
    exec(second, {})
    row = next(row for row in MaskStore.open("labels") if row.masks is not None)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == repr(names["masks"]) and said[1].startswith("1 of 2 images labelled")
    assert said[-1] == f"a.png {len(row.masks)} {row.masks.area_px.max()}"

"""What ``make demo`` runs, on photographs made small; and the picture that is drawn from its labels."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from dico.image import load_image, resize_image
from dico.masks import MaskSet
from dico.store import MaskStore
from tests.conftest import REPOSITORY

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A function that imports a script of tools/ as running it would."""
    monkeypatch.syspath_prepend(REPOSITORY / "tools")

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return __import__(name)

    return load


@pytest.fixture
def demo(tool: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """make_demo with photographs of 64 pixels."""
    module = tool("make_demo")
    (tmp_path / "data").mkdir()
    for path in module.photograph_paths(len(NAMES)):
        PIL.Image.fromarray(resize_image(load_image(path), (48, 64))).save(tmp_path / "data" / path.name)
    small = sorted((tmp_path / "data").iterdir())
    monkeypatch.setattr(module, "photograph_paths", lambda count: small[:count])
    return module


def test_the_demo_writes_what_it_says(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.main(["out/demo"]) == 0
    said = capsys.readouterr().err
    for words in ("out/demo/images", "5 of 5 images labelled in", "out/demo/gallery.html", "out/demo/annotations.json"):
        assert words in said
    coco = COCO("out/demo/annotations.json")
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == list(NAMES)
    masks = {row.path: row.masks for row in MaskStore.open("out/demo/labels")}
    assert len(coco.getAnnIds()) == sum(map(len, masks.values())) > 0
    assert all(f'"path":"{name}"' in Path("out/demo/gallery.html").read_text() for name in NAMES)
    assert MaskStore.open("out/demo/labels").verify().problems == ()


def test_the_demo_runs_again_on_what_it_left(demo: ModuleType, tmp_path: Path) -> None:
    assert demo.main([str(tmp_path / "out")]) == 0
    annotations = tmp_path / "out" / "annotations.json"
    first = json.loads(annotations.read_text())
    manifest = tmp_path / "out" / "labels" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"seed": 0', '"seed": 1'))  # as an older version may leave it
    annotations.unlink()
    assert demo.main([str(tmp_path / "out")]) == 0
    assert json.loads(annotations.read_text()) == first


def test_the_demo_removes_nothing_but_stores(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "out" / "labels" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("labels of my own")
    with pytest.raises(SystemExit):
        demo.main([str(tmp_path / "out")])
    assert "is in the way" in capsys.readouterr().err
    assert mine.read_text() == "labels of my own"


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_demo.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(REPOSITORY / "tools" / "make_demo.py"), run_name="__main__")
    rows = list(MaskStore.open(tmp_path / "labels"))
    assert [row.path for row in rows] == list(NAMES)
    assert all(row.masks is not None and len(row.masks) > 100 for row in rows)


def test_the_figure_has_a_row_an_image(demo: ModuleType, tool: Callable[[str], ModuleType], tmp_path: Path) -> None:
    figure = tool("make_figure")
    demo.main([str(tmp_path / "out")])
    picture = tmp_path / "new" / "figure.png"
    assert figure.main([str(tmp_path / "out" / "labels"), str(picture), "coffee.png", "rocket.jpg"]) == 0
    drawn = load_image(picture)
    columns = 1 + len(figure.THETAS)
    assert drawn.shape == (2 * figure.HEIGHT + figure.GAP, columns * 400 + (columns - 1) * figure.GAP, 3)
    photo = resize_image(load_image(tmp_path / "out" / "images" / "coffee.png"), (figure.HEIGHT, 400))
    np.testing.assert_array_equal(drawn[: figure.HEIGHT, :400], photo)


def test_the_figure_names_images_that_are_missing(
    demo: ModuleType, tool: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.main([str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        tool("make_figure").main([str(tmp_path / "out" / "labels"), str(tmp_path / "f.png"), "tea.png"])
    assert "no masks of tea.png" in capsys.readouterr().err


def test_masks_are_painted_small_over_large(tool: Callable[[str], ModuleType]) -> None:
    figure = tool("make_figure")
    masks_NHW = np.zeros((2, 20, 20), dtype=bool)
    masks_NHW[0, 4:12, 4:12] = masks_NHW[1, :, :16] = True
    painted = figure.paint(np.zeros((20, 20, 3), dtype=np.uint8), MaskSet.from_arrays(masks_NHW))
    inside, around, outside = painted[8, 8], painted[15, 8], painted[8, 18]
    assert (outside == 0).all() and (inside != around).any() and inside.any() and around.any()
    assert (painted[4, 4:12] == 255).all()

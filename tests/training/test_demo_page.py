"""The page in a browser: from the command line to the file that was saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from dico.image import load_image
from dico.masks import MaskSet
from tests.browser import BROWSERS, PATIENCE_S, Browser, Tab, find_browser, started
from tests.conftest import draw
from tests.training.asked import decisive_model, write_promptable
from tests.training.nested_shapes import nested
from tests.training.served import require_gradio, served
from tests.training.test_prompt_learning import learn
from training.config import InferenceConfig, TrainConfig
from training.demo.session import shown_first
from training.demo.uploads import MAX_MEGABYTES
from training.prompt_predictor import PromptPredictor

pytestmark = pytest.mark.browser
PICTURE = "document.querySelector('#picture img')"
STATUS = "document.querySelector('#status').innerText"
EVERYTHING = ["points_per_side=4", "min_iou=0", "min_stability=0", "max_box_iou=1", "min_region_px=0"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    require_gradio()
    program = find_browser()
    if program is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} to open the page")
    with started(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def serve(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """A function that serves the page for a checkpoint and gives its address."""
    folder = tmp_path_factory.mktemp("log")
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(served(folder, *arguments))[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_promptable(tmp_path_factory.mktemp("model") / "model.pth", model=decisive_model())


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], checkpoint: Path) -> str:
    return serve(checkpoint, *(f"automatic.{setting}" for setting in EVERYTHING))


@pytest.fixture
def open_photograph(browser: Browser) -> Iterator[Callable[[str, Path], Tab]]:
    """A function that opens the page at an address in a tab of its own, and a photograph in it."""
    tabs: list[Tab] = []

    def open_in_tab(address: str, path: Path) -> Tab:
        tabs.append(browser.open(address))
        load(tabs[-1], path)
        tabs[-1].wait_for(f"{PICTURE}?.naturalWidth > 0")
        tabs[-1].wait_for(f"{STATUS} == 'Click on a thing.'")
        return tabs[-1]

    yield open_in_tab
    for tab in tabs:
        tab.close()


def load(tab: Tab, path: Path) -> None:
    tab.wait_for("document.querySelector('#upload input[type=file]') !== null")
    tab.choose_file("#upload input[type=file]", path)


def change(tab: Tab, use: Callable[[], None]) -> str:
    """What the sentence under the picture says after something was done that changes both, the picture last."""
    sentence, picture = tab.evaluate(STATUS), tab.evaluate(f"{PICTURE}.src")
    use()
    tab.wait_for(f"{STATUS} != {sentence!r}")
    tab.wait_for(f"{PICTURE}?.src != {picture!r} && {PICTURE}.complete && {PICTURE}.naturalWidth > 0")
    return tab.evaluate(STATUS)


def click_pixel(tab: Tab, xy: tuple[int, int], size_hw: tuple[int, int]) -> str:
    share_xy = ((xy[0] + 0.5) / size_hw[1], (xy[1] + 0.5) / size_hw[0])
    return change(tab, lambda: tab.click("#picture img", share_xy))


def save(browser: Browser, tab: Tab, selector: str, folder: Path, name: str) -> Path:
    folder.mkdir()
    browser.save_into(folder)
    tab.click(selector)
    until = time.monotonic() + PATIENCE_S
    while not (folder / name).exists():  # until it is whole it has another name
        assert time.monotonic() < until, tab.evaluate("document.body.innerText")
        time.sleep(0.05)
    return folder / name


def only_mask(path: Path) -> np.ndarray:
    coco = COCO(path)
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    return coco.annToMask(annotation).astype(bool)


def photograph(path: Path, seed: int, size_hw: tuple[int, int]) -> Path:
    PIL.Image.fromarray(draw(seed, size_hw)).save(path)
    return path


def first_of(predictor: PromptPredictor, **asked: Any) -> np.ndarray:
    """The mask that is shown first."""
    masks, ious = predictor.predict(**asked)
    return masks[shown_first(MaskSet.from_arrays(masks, score=ious), has_box="box" in asked)]


def test_a_click_is_on_its_pixel_and_the_saved_mask_is_that_of_the_predictor(
    browser, open_photograph, address, checkpoint, tmp_path
):
    size_hw, xy = (50, 70), (33, 20)
    path = photograph(tmp_path / "drawn.png", 0, size_hw)
    predictor = PromptPredictor.from_checkpoint(checkpoint)
    predictor.set_image(load_image(path))
    expected = first_of(predictor, points=[xy])
    for beside in ([32, 20], [34, 20], [33, 19], [33, 21]):  # or the test could not tell them apart
        assert (first_of(predictor, points=[beside]) != expected).any()

    tab = open_photograph(address, path)
    assert "of 6" in click_pixel(tab, xy, size_hw)
    tab.wait_for("document.querySelectorAll('#choices .thumbnail-item').length == 6")
    np.testing.assert_array_equal(only_mask(save(browser, tab, "#save-coco", tmp_path / "1", "drawn.json")), expected)
    with PIL.Image.open(save(browser, tab, "#save-png", tmp_path / "2", "drawn-mask.png")) as picture:
        np.testing.assert_array_equal(np.asarray(picture)[:, :, 3] > 0, expected)

    tab.click("#use label:nth-child(2)")
    click_pixel(tab, (3, 44), size_hw)
    expected = first_of(predictor, points=[xy, [3, 44]], labels=[1, 0])
    np.testing.assert_array_equal(only_mask(save(browser, tab, "#save-coco", tmp_path / "3", "drawn.json")), expected)

    change(tab, lambda: tab.click("#clear"))
    tab.click("#use label:nth-child(3)")
    assert "opposite corner" in click_pixel(tab, (50, 40), size_hw)
    click_pixel(tab, (10, 5), size_hw)
    expected = first_of(predictor, box=[10, 5, 51, 41])
    np.testing.assert_array_equal(only_mask(save(browser, tab, "#save-coco", tmp_path / "4", "drawn.json")), expected)
    assert "opposite corner" in change(tab, lambda: tab.click("#undo"))


def test_what_cannot_be_done_without_a_photograph_is_told_on_the_page_alone(browser, checkpoint, tmp_path):
    with served(tmp_path, checkpoint) as (_, address):
        tab = browser.open(address)
        tab.wait_for("document.querySelector('#status')?.innerText.startsWith('Load a photograph (')")
        tab.click("#save-coco")
        tab.wait_for("document.body.innerText.includes('There are no masks yet')")
        tab.click("#everything")
        tab.wait_for(f"{STATUS}.startsWith('Load a photograph first.')")
        tab.close()
        (log,) = tmp_path.glob("*.txt")
        assert log.read_text().splitlines() == [
            f"demo: the page is at {address} until this command is stopped (Ctrl-C)"
        ]


def test_a_mask_can_be_chosen_by_its_picture_and_by_the_slider(browser, open_photograph, address, tmp_path):
    tab = open_photograph(address, photograph(tmp_path / "drawn.png", 0, (50, 70)))
    click_pixel(tab, (33, 20), (50, 70))
    for n in (6, 2, 5):
        sentence = change(tab, lambda n=n: tab.click(f"#choices .gallery-item:nth-child({n}) button"))
        assert sentence.startswith(f"Mask {n} of 6")
    last = change(tab, lambda: tab.click("#granularity input[type=range]", (0.999, 0.5)))
    assert last.startswith("Mask 6 of 6")


def test_tabs_do_not_mix(browser, open_photograph, address, checkpoint, tmp_path):
    """Two photographs of different sizes, clicked in turn; each tab saves what its own clicks mean on its own."""
    sizes, clicks = [(50, 70), (64, 48)], [[(33, 20), (60, 8)], [(10, 50), (40, 12)]]
    paths = [photograph(tmp_path / f"drawn{i}.png", i, size_hw) for i, size_hw in enumerate(sizes)]
    tabs = [open_photograph(address, path) for path in paths]
    for turn in range(2):
        for tab, size_hw, of_tab in zip(tabs, sizes, clicks, strict=True):
            click_pixel(tab, of_tab[turn], size_hw)
    for i in (1, 0):
        predictor = PromptPredictor.from_checkpoint(checkpoint)
        predictor.set_image(load_image(paths[i]))
        saved = only_mask(save(browser, tabs[i], "#save-coco", tmp_path / str(i), f"drawn{i}.json"))
        np.testing.assert_array_equal(saved, first_of(predictor, points=clicks[i]))


def test_everything_is_segmented_and_saved(browser, open_photograph, address, tmp_path):
    tab = open_photograph(address, photograph(tmp_path / "drawn.png", 0, (50, 70)))
    sentence = change(tab, lambda: tab.click("#everything"))
    coco = COCO(save(browser, tab, "#save-coco", tmp_path / "saved", "drawn.json"))
    assert sentence.endswith(f"of {len(coco.anns)} at this granularity.") and len(coco.anns) > 3
    parts = change(tab, lambda: tab.click("#granularity input[type=range]", (0.001, 0.5)))
    assert int(parts.split()[0]) == len(coco.anns.keys() - {annotation["parent"] for annotation in coco.anns.values()})
    whole = change(tab, lambda: tab.click("#granularity input[type=range]", (0.999, 0.5)))
    assert int(whole.split()[0]) == sum(annotation["parent"] == 0 for annotation in coco.anns.values())


def test_what_is_no_image_or_too_large_is_refused(browser, open_photograph, address, tmp_path):
    tab = open_photograph(address, photograph(tmp_path / "drawn.png", 0, (50, 70)))
    (tmp_path / "letter.png").write_text("Dear reader")
    tab.click("#upload button[aria-label='Clear']")
    load(tab, tmp_path / "letter.png")
    tab.wait_for(f"{STATUS}.startsWith('letter.png is not an image that is read')")
    (tmp_path / "large.bmp").write_bytes(bytes((MAX_MEGABYTES + 1) * 2**20))
    load(tab, tmp_path / "large.bmp")
    tab.wait_for("document.body.innerText.includes('exceed the maximum allowed size of 20')")
    load(tab, photograph(tmp_path / "good.png", 1, (50, 70)))
    tab.wait_for(f"{STATUS} == 'Click on a thing.'")


@pytest.mark.slow
def test_a_model_that_learned_finds_the_object_under_the_click(browser, open_photograph, serve, tmp_path):
    model = learn([nested(seed) for seed in range(4)], steps=100)
    config = TrainConfig(inference=InferenceConfig(short_side=128, long_side=128))
    address = serve(write_promptable(tmp_path / "model.pth", config, model))
    sample = nested(1)
    PIL.Image.fromarray(sample.image_CHW.numpy().transpose(1, 2, 0)).save(tmp_path / "shapes.png")
    tab = open_photograph(address, tmp_path / "shapes.png")
    meant = sample.masks_NHW.numpy()[4]  # the box within the box
    y, x = (int(np.median(places)) for places in np.nonzero(meant))
    click_pixel(tab, (x, y), meant.shape)
    ious = []
    for n in range(1, 7):
        tab.click(f"#choices .gallery-item:nth-child({n}) button")
        tab.wait_for(f"{STATUS}.startsWith('Mask {n} of 6')")
        found = only_mask(save(browser, tab, "#save-coco", tmp_path / str(n), "shapes.json"))
        ious.append((found & meant).sum() / (found | meant).sum())
    assert max(ious) > 0.7

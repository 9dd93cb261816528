"""The page of an evaluation: what is on it, that it needs nothing else, and that names stay text."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from tests.browser import BROWSERS, Browser, find_browser, started
from tests.conftest import draw
from tests.training.reports_by_hand import SKIPPED, clicked, full_set, set_report, seven_sets, suite
from training.evaluation.pages.page import Look, write_suite_page
from training.evaluation.suite_report import ImageSummary, KindFigure, SetReport, SuiteReport

HOSTILE = "<!--</style></title><script>document.title='broken'</script> & \"q\" onerror='x'.png".replace("/", "\\")
SIZE_HW = (60, 80)


def answered() -> tuple[AnnotatedImage, MaskSet]:
    """Two ground truths, one of which is found."""
    masks_NHW = np.zeros((2, *SIZE_HW), dtype=bool)
    masks_NHW[0, 5:40, 5:40] = True
    masks_NHW[1, 10:50, 50:75] = True
    truths = MaskSet.from_arrays(masks_NHW)
    return AnnotatedImage(7, "seven.png", SIZE_HW, tuple(truths.to_coco())), truths[[0]]


def look(of_set: SetReport, image: ImageSummary) -> tuple[AnnotatedImage, MaskSet | None]:
    return answered()


def page_of(report: SuiteReport, folder: Path, look: Look = look) -> str:
    write_suite_page(report, folder / "report.html", look=look)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "seven.png"
    PIL.Image.fromarray(draw(0, SIZE_HW)).save(path)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} to open the page")
    with started(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def words(page: str) -> str:
    """What is read on the page."""
    return " ".join(re.sub("<[^>]*>", " ", page[page.index("<body>") :]).split())


# ---------------------------------------------------------------- content


def test_everything_that_was_found_is_on_the_page(photo: Path, tmp_path: Path) -> None:
    report = suite(full_set(photo), *seven_sets()[1:], skipped=(SKIPPED,), verified="pycocotools agrees")
    write_suite_page(report, tmp_path / "new" / "report.html", look=look, when="2026-11-21")
    read = words((tmp_path / "new" / "report.html").read_text(encoding="utf-8"))
    for text in (
        "store labels Task all masks",
        "Verified pycocotools agrees",
        "When 2026-11-21",
        "UnSAM+ (lightly supervised) 48.8 52.2",
        "ours 34.4 (33.9-35.0) 40.0 (38.5-41.5) 31.0 (29.5-32.5)",
        "COCO all 5,000 1,234 12.5 20.0 (18.5-21.5) 40.0",
        "LVIS : 4,809 of 5,000 images are there. python datasets/prepare_lvis.py IN OUT",
        "COCO all 5,000 images Read recall. AR at 1,000 masks 40.0 (38.5-41.5)",
        "AR by budget 100 masks 20.0 1,000 masks 40.0",
        "AR by size small 0 - medium 1,000 20.0 large 234 40.0",
        "AR by kind of ground truth object 1,000 45.0 part 234 20.0",
        "AR by level of mask level 0 3.5 masks 30.0 level 2 9.0 masks 10.0 Points of AR; together they are 40.0.",
        "Lowest recall found at IoU 0.5 missed crowd, not counted mask that found it",
        "seven.png AR 12.3 · 1 of 2 found · 5 masks",
    ):
        assert text in read


def test_bars_are_as_long_as_their_figures(tmp_path: Path) -> None:
    page = page_of(suite(full_set()), tmp_path)
    level = page[page.index("AR by level") :]
    assert '<i style="width: 75.00%"></i>' in level  # 30 of 40 points
    budget = page[page.index("AR by budget") :]
    assert '<i style="width: 20.00%"></i><b style="left: 18.50%; width: 3.00%"></b>' in budget
    size = page[page.index("AR by size") : page.index("AR by size") + 400]
    assert '<div class="bar"></div></td><td>-</td>' in size  # nothing is known of small ones


def test_a_part_of_a_set_is_marked(tmp_path: Path) -> None:
    page = page_of(suite(set_report(n_images=50)), tmp_path)
    assert '<span class="tag part">50 of 5,000 images</span>' in page
    assert "No average of ours" in page


def test_pictures_are_small_jpegs_inside_the_page(photo: Path, tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((*SIZE_HW, 3), dtype=np.uint8)).save(photo)
    page = page_of(suite(full_set(photo)), tmp_path)
    (code,) = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)  # the only image is the worst and the best
    with PIL.Image.open(io.BytesIO(base64.b64decode(code))) as picture:
        assert picture.size == (80, 60)
        found, missed = (np.array(picture.getpixel(xy), dtype=int) for xy in ((20, 20), (60, 30)))
    assert found[2] > found[0] + 30 and missed[0] > missed[2] + 30  # blue, orange


def test_worst_and_best_are_in_order_and_look_is_asked_once_each(photo: Path, tmp_path: Path) -> None:
    images = [ImageSummary(n, f"{n}.png", photo, float(n), 2, 5) for n in range(5)]
    asked = []

    def remember(of_set: SetReport, image: ImageSummary) -> tuple[AnnotatedImage, MaskSet | None]:
        asked.append((of_set.name, image.image_id))
        return answered()

    page = page_of(suite(full_set(worst=tuple(images[:3]), best=tuple(images[:1:-1]))), tmp_path, remember)
    assert asked == [("coco", n) for n in (0, 1, 2, 4, 3)]
    assert re.findall(r'class="name" title="(\d).png"', page) == ["0", "1", "2", "4", "3"]


def test_clicks_have_a_page_too(tmp_path: Path) -> None:
    read = words(page_of(suite(clicked(unanswered=2)), tmp_path))
    for text in (
        "Evaluation of clicks store labels",
        "UnSAM 40.3 59.5",
        "ours 33.3 (32.0-34.5) 44.4 (43.0-45.5)",
        "COCO panoptic all 5,000 321 33.3 (32.0-34.5) 44.4 (43.0-45.5) 7.5 (7.0-8.0) Mean IoU",
        "2 images have no answer and count with ground truths that are not found.",
        "Max IoU 33.3 (32.0-34.5) Oracle IoU 44.4",
        "Clicks until IoU 80 % 7.5 At most 20 clicks.",
    ):
        assert text in read


def test_a_report_of_nothing_but_skipped_sets(tmp_path: Path) -> None:
    read = words(page_of(suite(skipped=(SKIPPED,)), tmp_path))
    assert "Not evaluated LVIS" in read
    assert "AR" not in read.split("Task")[0] and "0.0" not in read


def test_equal_reports_give_equal_pages(photo: Path, tmp_path: Path) -> None:
    assert page_of(suite(full_set(photo)), tmp_path) == page_of(suite(full_set(photo)), tmp_path)


# ---------------------------------------------------------------- what cannot be shown


def gone(of_set: SetReport, image: ImageSummary) -> tuple[AnnotatedImage, MaskSet | None]:
    raise OSError("store <b>labels</b> is gone")


@pytest.mark.parametrize(
    ("content", "look", "reason"),
    [
        (None, look, "does not exist; check the path"),
        (b"no image", look, "is not an image that is read"),
        (draw(0, (60, 70)), look, "it has (60, 70) pixels (height, width), its annotations say (60, 80)"),
        (draw(0, SIZE_HW), gone, "store &lt;b&gt;labels&lt;/b&gt; is gone"),
    ],
    ids=["missing", "damaged", "another size", "no answer can be had"],
)
def test_the_reason_stands_in_the_place_of_the_picture(tmp_path: Path, content: Any, look: Look, reason: str) -> None:
    path = tmp_path / "seven.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        PIL.Image.fromarray(content).save(path)
    page = page_of(suite(full_set(path)), tmp_path, look)
    assert "<img" not in page
    assert reason in page and "seven.png" in page and "AR 12.3" in page and "2 ground truths" in page


def test_an_image_without_path_and_one_without_answer(photo: Path, tmp_path: Path) -> None:
    assert "nobody knows where it lies" in page_of(suite(full_set(None)), tmp_path)
    unanswered = page_of(suite(full_set(photo)), tmp_path, lambda of_set, image: (answered()[0], None))
    assert "0 of 2 found" in unanswered


def test_a_page_that_fails_half_way_leaves_the_one_before(photo: Path, tmp_path: Path) -> None:
    before = page_of(suite(full_set(photo)), tmp_path)

    def fail(of_set: SetReport, image: ImageSummary) -> tuple[AnnotatedImage, MaskSet | None]:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        write_suite_page(suite(full_set(photo)), tmp_path / "report.html", look=fail)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before


# ---------------------------------------------------------------- safe, and on its own


def hostile_report(path: Path) -> SuiteReport:
    """Whatever a file or a data set may be called stands wherever names stand."""
    shown = ImageSummary(7, HOSTILE, path, 12.3, 2, 5)
    kinds = tuple(dataclasses.replace(kind, kind=HOSTILE) for kind in full_set().by_kind)
    one = full_set(name=HOSTILE, title=HOSTILE, worst=(shown,), best=(), by_kind=kinds, notes=(HOSTILE,))
    skipped = dataclasses.replace(SKIPPED, title=HOSTILE, reason=HOSTILE, command=HOSTILE)
    return suite(one, subject=HOSTILE, skipped=(skipped,), verified=HOSTILE, made_with={HOSTILE: HOSTILE})


def test_names_never_become_markup(photo: Path, tmp_path: Path) -> None:
    page = page_of(hostile_report(photo), tmp_path)
    body = page[page.index("<body>") :]
    assert "<script" not in page and "<!--" not in page
    assert page.count("</style>") == page.count("</title>") == 1
    assert body.count("&lt;!--&lt;\\style&gt;") >= 10


def test_nothing_is_fetched(photo: Path, tmp_path: Path) -> None:
    page = page_of(suite(full_set(photo), skipped=(SKIPPED,)), tmp_path)
    assert re.findall(r"(?:src|href)=\"(?!data:image/jpeg|#)", page) == []
    assert not re.search(r"url\(|@import|https?://", page)


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_readable_in_a_browser(
    browser: Browser, photo: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    long = "a_very_long_name_without_any_space_" * 4
    shown = ImageSummary(7, f"{long}.png", photo, 12.3, 2, 5)
    report = suite(
        full_set(title=long, worst=(shown,), notes=(long,), by_kind=(KindFigure(long, 9, 50.0, (40.0, 60.0)),)),
        *seven_sets()[1:],
        subject=long,
        skipped=(dataclasses.replace(SKIPPED, command=f"python {long}"),),
    )
    page_of(report, tmp_path)
    tab = browser.open((tmp_path / "report.html").as_uri())
    tab.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.wait_for("document.readyState === 'complete' && document.querySelector('img') !== null")
    tab.evaluate("document.querySelector('img').scrollIntoView()")
    tab.wait_for("document.querySelector('img').naturalWidth === 80")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", light)[:3])) / 3
    assert (brightness > 128) == (scheme == "light")
    tab.close()


@pytest.mark.browser
def test_hostile_names_are_only_shown(browser: Browser, photo: Path, tmp_path: Path) -> None:
    page_of(hostile_report(photo), tmp_path)
    tab = browser.open((tmp_path / "report.html").as_uri())
    tab.wait_for("document.readyState === 'complete' && document.querySelector('main') !== null")
    assert tab.evaluate("document.title") == f"Whole-image evaluation · {HOSTILE}"
    assert tab.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert tab.evaluate("document.querySelector('.name').title") == HOSTILE
    assert tab.evaluate("document.scripts.length") == 0
    tab.close()

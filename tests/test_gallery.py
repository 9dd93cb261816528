"""The gallery's data, and the page in a browser."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from dico.gallery import VIEW_SIDE, reduce_masks, write_gallery
from dico.mask_codes import decode_mask
from dico.masks import MaskSet
from dico.page_parts import fit_within
from dico.store import MaskStore
from tests.conftest import draw
from tests.stores import make_store

HOSTILE = "<!--</script><script>document.title='broken'</script> & \"q\" 'é'.png".replace("/", "\\")
SIZE_HW = (48, 64)


def nested(size_hw: tuple[int, int] = SIZE_HW) -> MaskSet:
    """A whole with two parts, one of which has a part; and a leaf of its own."""
    height, width = size_hw
    masks_NHW = np.zeros((5, height, width), dtype=bool)
    masks_NHW[0, : height // 2] = True
    masks_NHW[1, : height // 2, : width // 2] = True
    masks_NHW[2, : height // 2, width // 2 :] = True
    masks_NHW[3, : height // 4, : width // 4] = True
    masks_NHW[4, -height // 4 :, -width // 4 :] = True
    return MaskSet.from_arrays(
        masks_NHW,
        score=[0.9, 0.123456, 0.7, 0.6, 0.5],
        level=[0, 1, 1, 2, 0],
        theta=[0.1, 0.3, 0.3, 0.6, 0.1],
        parent=[-1, 0, 0, 1, -1],
        source=["divide", "conquer", "conquer", "<b>conquer</b>", "conquer"],
    )


@pytest.fixture
def store(tmp_path: Path) -> MaskStore:
    """Images small, large and hostile; one that was removed since, one that was changed, one that failed."""
    labels: dict[str, MaskSet | str | None] = {
        HOSTILE: nested(),
        "bad <i>one</i>.png": "decode",
        "changed.png": nested((10, 10)),
        "later.png": None,
        "large.png": nested((900, 1200)),
        "removed.png": nested(),
        "void.png": MaskSet.empty(SIZE_HW),
    }
    for path, size_hw in (
        (HOSTILE, SIZE_HW),
        ("changed.png", (12, 10)),
        ("large.png", (900, 1200)),
        ("void.png", SIZE_HW),
    ):
        PIL.Image.fromarray(draw(0, size_hw)).save(tmp_path / path)
    return make_store(tmp_path, labels)


def blocks(page: Path) -> dict[str, Any]:
    found = re.findall(r'<script type="application/json" id="([\w-]+)">(.*?)</script>', page.read_text(), flags=re.S)
    return {name: json.loads(content) for name, content in found}


# ---------------------------------------------------------------- data


def test_page_holds_every_image_and_failure(store: MaskStore, tmp_path: Path) -> None:
    write_gallery(store, tmp_path / "new" / "gallery.html")
    data = blocks(tmp_path / "new" / "gallery.html")
    listing = data.pop("listing")
    assert [one["path"] for one in listing["images"]] == [
        HOSTILE,
        "changed.png",
        "large.png",
        "removed.png",
        "void.png",
    ]
    assert [one["masks"] for one in listing["images"]] == [5, 5, 5, 5, 0]
    assert (listing["labelled"], listing["pending"], listing["configHash"]) == (5, 1, "0123456789ab")
    failure = {"path": "bad <i>one</i>.png", "kind": "decode", "error": "decode of bad <i>one</i>.png"}
    assert listing["failures"] == [failure]
    assert [data[f"image-{i}"]["path"] for i in range(5)] == [one["path"] for one in listing["images"]]
    assert len(data) == 5


def test_image_block_holds_photograph_and_masks_at_one_size(store: MaskStore, tmp_path: Path) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    data = blocks(tmp_path / "gallery.html")
    for name, view in (("image-0", [48, 64]), ("image-2", [480, 640])):
        image = data[name]
        assert image["view"] == view and image["note"] == ""
        photo = PIL.Image.open(io.BytesIO(base64.b64decode(image["photo"].partition("base64,")[2])))
        assert (photo.format, photo.size) == ("JPEG", tuple(view[::-1]))
        expected_NHW = nested((view[0], view[1])).decode()
        for counts, expected_HW in zip(image["counts"], expected_NHW, strict=True):
            np.testing.assert_array_equal(decode_mask((view[0], view[1]), counts.encode()), expected_HW)
        assert image["parent"] == [-1, 0, 0, 1, -1] and image["level"] == [0, 1, 1, 2, 0]
        assert image["score"][1] == 0.123456 and image["theta"] == [0.1, 0.3, 0.3, 0.6, 0.1]
    assert data["image-2"]["size"] == [900, 1200]
    assert data["image-2"]["area"] == nested((900, 1200)).area_px.tolist()  # in pixels of the original
    thumbnails = [one["thumbnail"] for one in data["listing"]["images"]]
    assert all(thumbnails[i].startswith("data:image/jpeg;base64,") for i in (0, 2, 4)) and thumbnails[3] == ""


def test_photographs_that_are_gone_or_changed_are_said_so(store: MaskStore, tmp_path: Path) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    data = blocks(tmp_path / "gallery.html")
    assert data["image-1"]["photo"] == data["image-3"]["photo"] == ""
    assert "was changed" in data["image-1"]["note"] and "(12, 10)" in data["image-1"]["note"]
    assert "removed.png does not exist" in data["image-3"]["note"]
    assert len(data["image-3"]["counts"]) == 5


def test_limit_keeps_the_first_images_and_all_failures(store: MaskStore, tmp_path: Path) -> None:
    write_gallery(store, tmp_path / "gallery.html", limit=2)
    data = blocks(tmp_path / "gallery.html")
    assert data.keys() == {"image-0", "image-1", "listing"}
    assert data["listing"]["labelled"] == 5 and len(data["listing"]["failures"]) == 1
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        write_gallery(store, tmp_path / "gallery.html", limit=0)


def test_page_needs_nothing_else_and_names_cannot_break_it(store: MaskStore, tmp_path: Path) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    text = (tmp_path / "gallery.html").read_text()
    assert "{{" not in text and HOSTILE not in text
    assert not re.search(r"https?://|<link|<script[^>]* src=|@import|url\(", text)
    assert text.count("<script") == text.count("</script>") == 7  # five images, the listing and the page's own
    assert text.count("<!--") == 0


def test_two_galleries_are_equal_and_a_failed_one_leaves_the_old(
    store: MaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    first = (tmp_path / "gallery.html").read_bytes()
    write_gallery(store, tmp_path / "gallery.html")
    assert (tmp_path / "gallery.html").read_bytes() == first
    monkeypatch.setattr(MaskStore, "failures", lambda store: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_gallery(store, tmp_path / "gallery.html")
    assert (tmp_path / "gallery.html").read_bytes() == first


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 4000), (2000, 1500), (641, 640)])
def test_views_fit_and_keep_the_proportions(size_hw: tuple[int, int]) -> None:
    view_hw = fit_within(size_hw, VIEW_SIDE)
    assert min(view_hw) >= 1 and max(view_hw) == min(VIEW_SIDE, max(size_hw))
    assert abs(view_hw[0] - size_hw[0] * max(view_hw) / max(size_hw)) < 1


def test_reduced_masks_do_not_vanish() -> None:
    masks_NHW = np.zeros((4, 100, 200), dtype=bool)
    masks_NHW[0, 99, 199] = masks_NHW[1, 3] = masks_NHW[2, :, :100] = True
    codes = reduce_masks(MaskSet.from_arrays(masks_NHW), (10, 20))
    found_NHW = np.stack([decode_mask((10, 20), code) for code in codes])
    assert np.argwhere(found_NHW[0]).tolist() == [[9, 19]]
    assert found_NHW[1].any() and not found_NHW[1, 1:].any()
    np.testing.assert_array_equal(found_NHW[2], np.arange(20) < np.full((10, 1), 10))
    assert not found_NHW[3].any()


def test_gallery_of_an_empty_store(tmp_path: Path) -> None:
    write_gallery(make_store(tmp_path, {"1.png": "memory"}), tmp_path / "gallery.html")
    listing = blocks(tmp_path / "gallery.html")["listing"]
    assert listing["images"] == [] and listing["failures"][0]["kind"] == "memory"


# ---------------------------------------------------------------- in a browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --window-size=1400,1000 --virtual-time-budget=5000 --dump-dom"
)


@pytest.fixture
def browse(tmp_path: Path) -> Any:
    """A function that opens a page at an address and gives its text by element id, after a script has run."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} to open the page")

    def open_page(page: Path, address: str = "", script: str = "") -> dict[str, str]:
        copy = tmp_path / "opened.html"
        # The page draws when its photograph is decoded; the script of the test waits for that.
        late = f"""<script>addEventListener('load', async () => {{
            const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
            await pause(500);
            for (let i = 0; i < 80 && labels === null; i++) await pause(50);
            {script}
        }})</script>"""
        copy.write_text(page.read_text().replace("</body>", late + "</body>"))
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        opened = subprocess.run(
            [browser, *FLAGS.split(), profile, copy.as_uri() + address], capture_output=True, text=True, check=True
        )
        dom = re.sub(r'<script type="application/json".*?</script>', "", opened.stdout, flags=re.S)
        texts = {}
        for name in (
            "summary",
            "image-name",
            "shown",
            "theta-value",
            "mask-title",
            "mask-facts",
            "note",
            "images",
            "title",
        ):
            tag = r"<title>" if name == "title" else rf'<\w+[^>]* id="{name}"[^>]*>'
            match = re.search(
                rf"{tag}(.*?)</(?:h1|h2|h3|p|span|output|dl|ol|title)>\s*(?:<(?!d[td])|$)", dom, flags=re.S
            )
            texts[name] = html.unescape(re.sub(r"<[^>]+>", " ", match[1])).strip() if match else ""
        result = re.search(r'data-result="([^"]*)"', dom)
        texts["result"] = html.unescape(result[1]) if result else ""
        return texts

    return open_page


@pytest.mark.browser
@pytest.mark.parametrize("theta", [0, 0.3, 0.6, 1])
def test_browser_shows_the_cut_at_theta(store: MaskStore, tmp_path: Path, browse: Any, theta: float) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    texts = browse(tmp_path / "gallery.html", f"#image=1&show=cut&theta={theta}")
    cut = nested().at_theta(theta)
    covered = round(100 * cut.decode().any(axis=0).mean())
    assert texts["image-name"] == HOSTILE and texts["title"] == "store · mask gallery"
    assert texts["shown"] == f"{len(cut)} masks shown, {covered} % of the image"
    assert texts["summary"].startswith("5 of 5 labelled images · 20 masks · 1 failed · 1 not labelled yet")


@pytest.mark.browser
def test_browser_draws_every_mask_where_it_is(store: MaskStore, tmp_path: Path, browse: Any) -> None:
    """The label map that the page paints and picks from, and the pixels of its canvases, read back."""
    write_gallery(store, tmp_path / "gallery.html")
    script = """
        const pixels = (canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const [photo, overlay] = [pixels(byId("photo")), pixels(byId("overlay"))];
        const lit = pixels(document.querySelectorAll("canvas.light")[1]);
        const changed = [], dimmed = [];
        for (let i = 0; i < photo.length; i += 4) {
          changed.push(+(Math.abs(photo[i] - overlay[i]) + Math.abs(photo[i + 1] - overlay[i + 1]) > 0));
          dimmed.push(+(lit[i + 3] > 0 && lit[i + 3] < 255));
        }
        document.body.dataset.result = JSON.stringify({ labels: [...labels], changed, dimmed });
    """
    texts = browse(tmp_path / "gallery.html", "#image=1&show=all&mask=2", script)
    result = json.loads(texts["result"])
    expected_HW = np.full(SIZE_HW, -1)
    masks = nested()
    for n in np.argsort(-masks.area_px, kind="stable"):
        expected_HW[masks.decode()[n]] = n
    np.testing.assert_array_equal(np.reshape(result["labels"], SIZE_HW[::-1]).T, expected_HW)
    assert np.mean(result["changed"]) > 0.95  # every pixel is coloured or dimmed
    dimmed_HW = np.reshape(result["dimmed"], SIZE_HW).astype(bool)
    np.testing.assert_array_equal(dimmed_HW[:, :30], ~masks.decode()[1][:, :30])  # beside the parent's outline
    assert texts["mask-title"] == "Mask 2"
    facts = re.sub(r"\s+", " ", texts["mask-facts"])
    assert facts == "size 768 px (25 %), small score 0.123 level 1 theta 0.3 parent mask 1 source conquer"


@pytest.mark.browser
def test_browser_neighbours_differ_in_colour_and_the_slider_moves_evenly(
    store: MaskStore, tmp_path: Path, browse: Any
) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    script = """
        // Stripes of masks that have the same colour of their own.
        const stripes = [0, 12, 24, 36], height = 3;
        const striped = Int32Array.from(stripes.flatMap((n) => [n, n, n]));
        const colourOf = chooseColours({ view: [height, stripes.length] }, striped, stripes);
        const colours = stripes.map((n) => colourOf(n).join());
        const fine = Array.from({ length: 500 }, (_, i) => 0.5 + i / 2000);
        document.body.dataset.result = JSON.stringify({ colours, stops: granularities([0, 0.1, ...fine, 1]) });
    """
    result = json.loads(browse(tmp_path / "gallery.html", script=script)["result"])
    assert all(a != b for a, b in itertools.pairwise(result["colours"]))
    assert result["colours"][0] == result["colours"][2]  # its own where it can
    stops = result["stops"]
    assert stops[:3] == [0, 0.1, 0.5] and stops[-1] == 1
    assert np.diff(stops).min() >= 0.01 - 1e-9 and len(stops) > 20


@pytest.mark.browser
def test_browser_hover_lights_the_smallest_and_click_steps_to_the_parent(
    store: MaskStore, tmp_path: Path, browse: Any
) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    script = """
        const stack = document.querySelectorAll(".stack")[1], box = stack.getBoundingClientRect(), seen = [];
        const point = (name, x, y) => {
          const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height, bubbles: true };
          stack.dispatchEvent(name === "click" ? new MouseEvent(name, at) : new PointerEvent(name, at));
          seen.push(byId("mask-title").textContent);
        };
        const press = (key) => {
          document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
          seen.push(byId("mask-title").textContent);
        };
        point("pointermove", 0.1, 0.1);
        point("click", 0.1, 0.1);
        point("click", 0.1, 0.1);
        point("click", 0.1, 0.1);
        point("pointermove", 0.9, 0.9);
        point("pointermove", 0.1, 0.7);
        press("n"); press("n"); press("ArrowUp"); press("ArrowDown"); press("Escape");
        document.body.dataset.result = seen.join();
    """
    texts = browse(tmp_path / "gallery.html", "#image=1&show=all", script)
    hovered = ["Mask 4", "Mask 2", "Mask 1", "Mask 4", "Mask 5", "Mask"]
    assert texts["result"].split(",") == [*hovered, "Mask 1", "Mask 2", "Mask 1", "Mask 2", "Mask"]


@pytest.mark.browser
def test_browser_says_when_a_photograph_is_missing_and_finds_images(
    store: MaskStore, tmp_path: Path, browse: Any
) -> None:
    write_gallery(store, tmp_path / "gallery.html")
    script = """
        byId("search").value = "LARGE";
        byId("search").dispatchEvent(new Event("input"));
        const visible = [...document.querySelectorAll("#images li")].filter((item) => !item.hidden);
        document.body.dataset.result = visible.map((item) => item.querySelector(".name").textContent).join();
    """
    texts = browse(tmp_path / "gallery.html", "#image=4&show=level&level=1", script)
    assert "removed.png does not exist" in texts["note"]
    assert texts["shown"] == "2 masks shown, 50 % of the image"
    assert texts["result"] == "large.png"

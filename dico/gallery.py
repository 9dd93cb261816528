"""A gallery of a store: one static page that opens from disk and needs nothing else, neither server nor network.

The page is ``gallery_assets/page.html`` with the style, the scripts and the data put in. Data are blocks of JSON: one
an image (the photograph reduced and as JPEG, its masks as run-length codes at the same size), that the page reads only
when the image is looked at; and a list of all images, with small pictures, that it reads at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dico.atomic import atomic_file
from dico.image import Image, ImageError, load_image, resize_image
from dico.mask_codes import encode_mask
from dico.masks import MaskSet
from dico.page_parts import fit_within, jpeg_url, page_asset
from dico.store import MaskStore
from dico.window import decode_window

VIEW_SIDE = 640
"""Photographs and masks are reduced to at most so many pixels on the longer side."""
THUMBNAIL_SIDE = 112
STYLES = ("shared.css", "style.css")
SCRIPTS = ("masks.js", "draw.js", "app.js")


def write_gallery(store: MaskStore, output: str | Path, *, limit: int | None = None) -> None:
    """Writes the gallery of a store.

    Args:
        store: The labels; an unfinished store gives what it has.
        output: The html file; one that exists is replaced.
        limit: At most so many images, the first of the store that have masks; None for all. A page of 200 photographs
            has 10 to 30 MB. Failures are listed in any case.

    Raises:
        ValueError: when ``limit`` is not positive.
        IsADirectoryError: when ``output`` is a folder.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    with atomic_file(Path(output)) as temporary, open(temporary, "w", encoding="utf-8") as page:
        for text, slot in _template():
            page.write(text)
            if slot == "style":
                page.writelines(map(page_asset, STYLES))
            elif slot == "script":
                page.writelines(map(page_asset, SCRIPTS))
            elif slot == "data":
                page.writelines(_blocks(store, limit))


def _blocks(store: MaskStore, limit: int | None) -> Iterator[str]:
    """Yields the JSON blocks: an image at a time, then the list of them."""
    listing: list[dict[str, Any]] = []
    for row in store:
        if limit is not None and len(listing) == limit:
            break
        if row.masks is None:
            continue
        shown = ShownImage.of(row.path, store.image_path(row), row.masks)
        yield _block(f"image-{len(listing)}", shown.to_dict())
        listing.append({"path": row.path, "masks": len(row.masks), "thumbnail": shown.thumbnail()})
    status = store.status()
    yield _block(
        "listing",
        {
            "name": store.path.name,
            "configHash": store.manifest.config_hash,
            "labelled": status.done,
            "pending": status.pending,
            "images": listing,
            "failures": [{"path": one.path, "kind": one.kind, "error": one.error} for one in store.failures()],
        },
    )


@dataclass(frozen=True)
class ShownImage:
    """One image of the gallery.

    Attributes:
        path: As in the store.
        masks: Its masks, at the full size.
        view_hw: The size it is shown at, in pixels.
        photo: The photograph at ``view_hw``, or None when it cannot be read.
        note: Why there is no photograph, or "".
    """

    path: str
    masks: MaskSet
    view_hw: tuple[int, int]
    photo: Image | None
    note: str

    @classmethod
    def of(cls, path: str, file: Path, masks: MaskSet) -> ShownImage:
        """An image of a store; a photograph that is missing, damaged or another one by now becomes a note."""
        view_hw = fit_within(masks.size_hw, VIEW_SIDE)
        try:
            photo = load_image(file)
        except ImageError as error:
            return cls(path, masks, view_hw, None, f"The photograph cannot be shown: {error}")
        if photo.shape[:2] != masks.size_hw:
            note = f"The photograph was changed: it has {photo.shape[:2]} pixels, its masks have {masks.size_hw}."
            return cls(path, masks, view_hw, None, note)
        return cls(path, masks, view_hw, resize_image(photo, view_hw), "")

    def thumbnail(self) -> str:
        """A small picture as data URL, or "" without photograph."""
        if self.photo is None:
            return ""
        return jpeg_url(resize_image(self.photo, fit_within(self.view_hw, THUMBNAIL_SIDE)))

    def to_dict(self) -> dict[str, Any]:
        """What the page needs to show it, JSON-ready."""
        masks = self.masks.to_dict()
        return {
            "path": self.path,
            "size": masks["size"],
            "view": list(self.view_hw),
            "photo": "" if self.photo is None else jpeg_url(self.photo),
            "note": self.note,
            "counts": [rle.decode("ascii") for rle in reduce_masks(self.masks, self.view_hw)],
            "area": self.masks.area_px.tolist(),
            **{name: masks[name] for name in ("score", "level", "theta", "parent", "source")},
        }


def reduce_masks(masks: MaskSet, view_hw: tuple[int, int]) -> list[bytes]:
    """Run-length codes of the masks at a smaller size; a mask never vanishes unless it is empty.

    Args:
        masks: N masks.
        view_hw: Height and width in pixels, at most those of the masks.

    Returns:
        N compressed COCO codes.
    """
    if view_hw == masks.size_hw:
        return list(masks.rles)
    height, width = masks.size_hw
    codes = []
    for rle, box_xyxy in zip(masks.rles, masks.boxes_xyxy, strict=True):
        view = decode_window(rle, masks.size_hw, (0, 0, width, height), view_hw)
        if box_xyxy.any() and not view.any():  # too small or thin for the nearest pixels to meet it
            middle_xy = (box_xyxy[:2] + box_xyxy[2:]) / 2
            view[int(middle_xy[1] * view_hw[0] / height), int(middle_xy[0] * view_hw[1] / width)] = True
        codes.append(encode_mask(view))
    return codes


def _block(name: str, content: dict[str, Any]) -> str:
    # In a script element only "<" can end the data or begin markup, whatever file names hold.
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _template() -> Iterator[tuple[str, str]]:
    """Yields the pieces of the page, each with the name of the slot behind it; the last has none."""
    pieces = re.split(r"{{(\w+)}}", page_asset("page.html"))
    return zip(pieces[::2], [*pieces[1::2], ""], strict=True)

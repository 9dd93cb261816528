"""How ADE20K writes the masks of an image: in the full release of 2021, and in the challenges of 2016 and 2017.

What the files hold, where that is described, and what of it was checked is said in ``datasets/prepare_ade20k.py``.
Axes: H W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dico.mask_codes import encode_mask
from training.data.conversion.ade20k_parts import PartMaps
from training.data.conversion.segments import Segment, segments_of
from training.data.number_maps import read_colours, read_numbers

STUFF = (
    1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 17, 18, 22, 26, 27, 29, 30, 35, 41, 47, 49, 52, 53, 55, 60, 61, 62, 64, 69, 78,
    80, 85, 92, 95, 97, 100, 101, 102, 106, 107, 110, 114, 115, 118, 123, 129, 132, 141, 142, 146,
)  # fmt: skip
"""Categories of the challenge, from 1, that have no objects."""
THINGS = tuple(category for category in range(1, 151) if category not in STUFF)
"""The others, in the order in which the files of objects count them, from 1."""
_MOST_COLOURS = 255  # of blue, without 0: so many objects of a level can be told apart
_SEEN = 255  # in the file of one object; what something hides is 128


@dataclass(frozen=True)
class Picture:
    """What is annotated in an image.

    Attributes:
        segments: Its masks.
        names: Names of their categories, where its files have them.
        hidden: How many objects are named, but wholly hidden by others.
        agreement: Share of the pixels of objects that have the category of the object in the file of categories, too;
            NaN where there are no such pixels.
    """

    segments: tuple[Segment, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    hidden: int = 0
    agreement: float = float("nan")


def read_full(image: Path, size_hw: tuple[int, int], *, parts: bool = True) -> Picture:
    """The masks of an image of the full release: its objects, then their parts, then the parts of those.

    Args:
        image: The image; its annotations lie beside it.
        size_hw: Its height and width in pixels.
        parts: Whether parts are read.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when one is damaged, of another size, or the PNG files and the json do not go together.
    """
    about = image.with_suffix(".json")
    levels = _objects_by_level(about)
    segments: list[Segment] = []
    names: dict[int, str] = {}
    hidden = 0
    for level in range(max(levels, default=0) + 1 if parts else 1):
        objects = levels.get(level, [])
        if level and not objects:
            continue
        name = f"{image.stem}_parts_{level}.png" if level else f"{image.stem}_seg.png"
        named = {int(one["name_ndx"]): str(one["name"]) for one in objects}
        fields = {"level": "part", "part_level": level} if level else {"level": "object"}
        if len(objects) > _MOST_COLOURS:
            found = [(int(one["name_ndx"]), _seen(image.parent / one["instance_mask"], size_hw)) for one in objects]
            found = [(category, code) for category, code in found if code]
        else:
            found = _coloured_segments(image.with_name(name), size_hw)
        if unnamed := sorted({category for category, _ in found} - named.keys()):
            raise ValueError(f"{image.with_name(name)} has the categories {unnamed}, which {about.name} does not name")
        if len(found) > len(objects):
            raise ValueError(f"{image.with_name(name)} has {len(found)} objects, {about.name} only {len(objects)}")
        segments.extend(Segment(category, code, fields) for category, code in found)
        names |= named
        hidden += len(objects) - len(found)
    return Picture(tuple(segments), names, hidden)


def read_challenge(
    image: Path, size_hw: tuple[int, int], root: Path, *, stuff: bool = True, parts: PartMaps | None = None
) -> Picture:
    """The masks of an image of the challenge: its things, one mask an object; its stuff, one mask a category; parts.

    Args:
        image: The image, in ``images/validation``.
        size_hw: Its height and width in pixels.
        root: The folder with ``annotations`` and ``annotations_instance``.
        stuff: Whether stuff is read.
        parts: The maps of parts that others made; None reads no parts.

    Raises:
        FileNotFoundError: when a file is missing; a map of parts may be.
        ValueError: when one is damaged, of another size or kind, or has categories that there are not.
    """
    split = image.parent.name
    categories_png = root / "annotations" / split / f"{image.stem}.png"
    categories_HW = read_numbers(categories_png, size_hw)
    if categories_HW.max(initial=0) > len(THINGS) + len(STUFF):
        raise ValueError(f"{categories_png} has the category {categories_HW.max()}; there are 150")
    objects_png = root / "annotations_instance" / split / f"{image.stem}.png"
    objects_HW3 = read_colours(objects_png, size_hw)
    things_HW, object_HW = objects_HW3[:, :, 0], objects_HW3[:, :, 1]
    segments, agreeing = [], 0
    for number, code in segments_of(object_HW, nothing=object_HW == 0):
        # An object has one category; where its border has others, most of it decides.
        inside = object_HW == number
        thing = int(np.bincount(things_HW[inside]).argmax())
        if not 1 <= thing <= len(THINGS):
            raise ValueError(f"{objects_png} has the category {thing}; objects have 1 to {len(THINGS)}")
        agreeing += int((categories_HW[inside] == THINGS[thing - 1]).sum())
        segments.append(Segment(THINGS[thing - 1], code, {"level": "object", "isthing": 1}))
    covered = int((object_HW != 0).sum())
    if stuff:
        no_stuff_HW = ~np.isin(categories_HW, STUFF)
        segments += [
            Segment(category, code, {"level": "object", "isthing": 0})
            for category, code in segments_of(categories_HW, nothing=no_stuff_HW)
        ]
    names: Mapping[int, str] = {}
    if parts is not None:
        of_parts = parts.segments(image.stem, object_HW)
        segments += of_parts
        names = parts.names_of(of_parts)
    return Picture(tuple(segments), names, agreement=agreeing / covered if covered else float("nan"))


def challenge_names(root: Path) -> dict[int, str]:
    """Names of the 150 categories by number, as ``objectInfo150.txt`` of the challenge has them; none without it.

    Args:
        root: The folder of the challenge.

    Raises:
        ValueError: when the file is there and is not a table with a number first and a name last.
    """
    path = root / "objectInfo150.txt"
    if not path.is_file():
        return {}
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    try:
        return {int(row[0]): row[-1].strip() for row in rows}
    except ValueError as error:
        raise ValueError(f"{path} must be a table of categories ({error}); fetch it again, or remove it") from error


def _objects_by_level(about: Path) -> dict[int, list[Mapping[str, Any]]]:
    """The objects (level 0), their parts (level 1), and so on, that a json names."""
    content = about.read_bytes()
    try:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("latin-1")  # some names were typed so
        objects = json.loads(text, strict=False)["annotation"]["object"]
        levels: dict[int, list[Mapping[str, Any]]] = {}
        # The files were written by MATLAB, in which a list of one is the same as what is in it.
        for one in [objects] if isinstance(objects, dict) else objects:
            levels.setdefault(int(one["parts"]["part_level"]), []).append(one)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{about} is damaged, or not as ADE20K of 2021 has it ({error!r}); fetch it again") from error
    return levels


def _coloured_segments(png: Path, size_hw: tuple[int, int]) -> list[tuple[int, bytes]]:
    """Category and code of each object of a ``_seg.png`` or ``_parts_N.png``."""
    colours_HW3 = read_colours(png, size_hw)
    red_HW, green_HW, blue_HW = np.moveaxis(colours_HW3.astype(np.int64), 2, 0)
    category_HW = red_HW // 10 * 256 + green_HW
    numbers_HW = category_HW * 256 + blue_HW
    nothing_HW = (category_HW == 0) | (blue_HW == 0)
    return [(number // 256, code) for number, code in segments_of(numbers_HW, nothing=nothing_HW)]


def _seen(png: Path, size_hw: tuple[int, int]) -> bytes:
    """The code of what is seen of one object; empty when that is nothing."""
    shown_HW = read_numbers(png, size_hw)
    seen_HW = shown_HW == _SEEN
    return encode_mask(seen_HW) if seen_HW.any() else b""

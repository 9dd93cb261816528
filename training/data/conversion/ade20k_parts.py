"""Maps of parts that others made for the images of ADE20K's challenge: a PNG an image, its numbers categories of parts.

What the files hold, where that is described, and what of it was checked is said in ``datasets/prepare_ade20k.py``.
Axes: H W pixels; N numbers of a map; K pixels of a part; P pieces of it, that do not touch; O objects of an image by
number, 0 for none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dico.rasterise import rles_of_labels
from training.data.conversion.preparation import require_file, require_folder
from training.data.conversion.segments import Segment
from training.data.number_maps import bits_of, read_numbers

FIRST_PART = 1_000
"""Category 0 of parts gets this id, as the challenge has 150 categories of its own."""
NOTHING = {8: 255, 16: 65_535}
"""By the bits of a map, the number where there is no part."""
LEAST_SHARE = 0.1
"""So much of a piece has an object of its own at least; less is a border that was drawn a little differently."""
_PLACES = ("annotations_detectron2_part/validation", "validation", ".")
_ALL_NUMBERS = 256  # an object's number has 8 bits
_TOUCHING = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class PartMaps:
    """The maps of a folder; :func:`open_part_maps` finds them.

    Attributes:
        folder: It.
        stems: The images that have a map, without their extensions.
        bits: 8 or 16, of all maps.
        names: Names of categories, where they are known.
    """

    folder: Path
    stems: frozenset[str]
    bits: int
    names: Mapping[int, str]

    def segments(self, stem: str, object_HW: NDArray[np.uint8]) -> list[Segment]:
        """The parts of an image: of each category one mask in each object, and one of what is in no object.

        Args:
            stem: The name of the image, without its extension; one without a map has no parts.
            object_HW: The number of the object at each pixel, 0 where there is none.

        Raises:
            ValueError: when the map is damaged, of another size or kind, or has no pixel without a part.
        """
        if stem not in self.stems:
            return []
        png, nothing = self.folder / f"{stem}.png", NOTHING[self.bits]
        number_HW = read_numbers(png, (object_HW.shape[0], object_HW.shape[1]), bits=self.bits)
        if not (number_HW == nothing).any():
            raise ValueError(
                f"{png} has no pixel of {nothing}, which is 'nothing' in a map of {self.bits} bits; if another number, "
                f"such as 0, is 'nothing' in it, save it anew with {nothing}, and all categories counted from 0"
            )
        return _segments(number_HW, nothing, object_HW)

    def names_of(self, segments: Iterable[Segment]) -> dict[int, str]:
        """Names of the categories of parts, such as "part 17" where none is known."""
        numbers = {one.category - FIRST_PART for one in segments}
        return {FIRST_PART + number: self.names.get(number, f"part {number}") for number in sorted(numbers)}


def open_part_maps(source: Path, names: Path | None = None) -> PartMaps:
    """The maps of a folder, all of which have the same number of bits; none is read yet.

    Args:
        source: The folder of ADE20KPart-234, or one with ``ADE_val_*.png``.
        names: A file of the names of categories, as for :func:`read_part_names`.

    Raises:
        FileNotFoundError: when there are no maps, or no such file.
        ValueError: when some have 8 and some 16 bits a number, or another number; or the file is not one of names.
    """
    require_folder(source, "ADE20KPart234, or its folder with ADE_val_*.png", "unpack ADE20KPart234.tar.gz")
    files = next(filter(None, (sorted((source / place).glob("ADE_val_*.png")) for place in _PLACES)), [])
    if not files:
        raise FileNotFoundError(
            f"{source} has no maps of parts, ADE_val_*.png, nor {_PLACES[0]} with them, as ADE20KPart234 has"
        )
    folder = files[0].parent
    by_bits: dict[int, Path] = {}
    for file in files:
        by_bits.setdefault(bits_of(file), file)
    for bits, file in by_bits.items():
        if bits not in NOTHING:
            raise ValueError(f"{file} must be a PNG of 8 or 16 bits a pixel, got {bits or 'no PNG'}; fetch it again")
    if len(by_bits) > 1:
        raise ValueError(
            f"{folder} must have maps of one kind; {by_bits[8].name} has 8 bits a pixel and {by_bits[16].name} 16, so "
            "that it is not clear which number is 'nothing'; fetch the maps again"
        )
    (bits,) = by_bits
    named = {} if names is None else read_part_names(names)
    if max(named, default=0) >= NOTHING[bits]:
        raise ValueError(
            f"{names} names category {max(named)}, which maps of {bits} bits cannot have, such as {files[0]}; fetch "
            "those of 16 bits"
        )
    return PartMaps(folder, frozenset(file.stem for file in files), bits, named)


def read_part_names(path: Path) -> dict[int, str]:
    """Names of categories by number; an empty one is none.

    Args:
        path: A text file with a name a line, the first of which is that of category 0; or a json with a list of names,
            likewise, or with an object such as ``{"17": "leg of a chair"}``.

    Raises:
        FileNotFoundError: when it does not exist.
        ValueError: when it is neither.
    """
    require_file(path, "a text or a json with the names of parts", "name it with --part-names, or leave that out")
    try:
        text = path.read_text(encoding="utf-8-sig")  # as some editors write it
        content = json.loads(text) if path.suffix == ".json" else text.splitlines()
        named = content if isinstance(content, dict) else dict(enumerate(content))
        if not isinstance(content, dict | list) or not all(isinstance(name, str) for name in named.values()):
            raise ValueError("it must be a list or an object, and a name must be text")
        found = {int(number): name.strip() for number, name in named.items() if name.strip()}
        if min(found, default=-1) < 0:
            raise ValueError("there must be a name, and no number below 0")
        return found
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} must have the names of parts: a text with a name a line, from category 0, or a json with a list "
            f'of names or an object such as {{"17": "leg of a chair"}} ({error})'
        ) from error


def _segments(number_HW: NDArray[np.uint16], nothing: int, object_HW: NDArray[np.uint8]) -> list[Segment]:
    """The masks of all numbers but one, for each object that they are of; they do not overlap."""
    present_N, place_HW = np.unique(number_HW, return_inverse=True)
    place_HW = place_HW.reshape(number_HW.shape)  # NumPy below 2 gives it flat
    mask_HW, numbers = np.zeros_like(place_HW), []
    for place, window in enumerate(ndimage.find_objects(place_HW + 1)):
        if present_N[place] == nothing:
            continue
        part_HW = place_HW[window] == place
        owner_HW = _owners(part_HW, object_HW[window])
        for owner in np.unique(owner_HW[part_HW]):
            numbers.append(int(present_N[place]))
            mask_HW[window][part_HW & (owner_HW == owner)] = len(numbers)
    codes = rles_of_labels(mask_HW - 1, len(numbers))
    return [Segment(FIRST_PART + number, code, {"level": "part"}) for number, code in zip(numbers, codes, strict=True)]


def _owners(part_HW: NDArray[np.bool_], object_HW: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The object, 0 for none, that each pixel of a part is of.

    That is the one it lies in, if that has a fair share of the piece of the part around it; or else the one that has
    the most of the piece. Without that, a border that was drawn a little differently would be a mask of a few pixels.
    """
    pieces_HW, count = ndimage.label(part_HW, structure=_TOUCHING)
    piece_K, object_K = pieces_HW[part_HW] - 1, object_HW[part_HW].astype(np.int64)
    area_PO = np.bincount(piece_K * _ALL_NUMBERS + object_K, minlength=count * _ALL_NUMBERS).reshape(count, -1)
    fair_PO = area_PO >= LEAST_SHARE * area_PO.sum(axis=1, keepdims=True)
    fair_PO[:, 0] = False
    most_P = np.where(fair_PO, area_PO, 0).argmax(axis=1)  # 0 where no object has a fair share
    owner_HW = np.zeros(part_HW.shape, dtype=np.int64)
    owner_HW[part_HW] = np.where(fair_PO[piece_K, object_K], object_K, most_P[piece_K])
    return owner_HW

"""What the masks of an image are before they are written: a category and a code each; how maps of numbers give them.

Axes: H W pixels, N numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dico.rasterise import rles_of_labels


@dataclass(frozen=True)
class Segment:
    """A mask of an image.

    Attributes:
        category: Number of its category in the release.
        code: Compressed run-length code.
        fields: What else is written of it, as in :meth:`CocoWriter.add_annotation` of ``coco_writer``.
    """

    category: int
    code: bytes
    fields: Mapping[str, Any]


def segments_of(numbers_HW: NDArray[Any], *, nothing: NDArray[np.bool_]) -> list[tuple[int, bytes]]:
    """Each number of a map, from 0, with the code of its mask; where there is nothing, there is no number."""
    present_N = np.flatnonzero(np.bincount(numbers_HW[~nothing]))
    places = np.full(int(numbers_HW.max(initial=0)) + 1, -1)
    places[present_N] = np.arange(len(present_N))
    codes = rles_of_labels(np.where(nothing, -1, places[numbers_HW]), len(present_N))
    return list(zip(present_N.tolist(), codes, strict=True))

"""Where somebody who wants a mask would click: deepest inside it, and then deepest inside what is wrong.

Source: Sofiiuk et al. 2021 (RITM), Sec. 4, as in every evaluation of interactive segmentation since.

Axes: H W pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Click:
    """A pixel, and whether it belongs to what is wanted."""

    x: int
    y: int
    wanted: bool


def first_click(mask_HW: NDArray[np.bool_]) -> Click:
    """The pixel of a mask that is farthest from what is not the mask, the border of the image included.

    Args:
        mask_HW: bool, not empty; of equally deep pixels the first, row by row, is taken.

    Raises:
        ValueError: when the mask is empty.

    Example:
        >>> mask_HW = np.zeros((5, 9), dtype=bool)
        >>> mask_HW[1:4, 0:3] = True
        >>> first_click(mask_HW)
        Click(x=1, y=2, wanted=True)
    """
    _, x, y = _deepest(mask_HW, ())
    if x < 0:
        raise ValueError("mask_HW must have a pixel, got an empty mask")
    return Click(x, y, wanted=True)


def next_click(truth_HW: NDArray[np.bool_], mask_HW: NDArray[np.bool_], before: Collection[Click]) -> Click | None:
    """The click that corrects a mask: in the middle of what is missing or of what is too much, whichever is deeper.

    Args:
        truth_HW: bool, what is wanted.
        mask_HW: bool, what was given.
        before: Pixels that were clicked are not clicked again.

    Returns:
        None when nothing else is wrong.

    Example:
        >>> truth_HW, mask_HW = np.ones((2, 4, 6), dtype=bool)
        >>> mask_HW[:, :3] = False
        >>> next_click(truth_HW, mask_HW, ())
        Click(x=1, y=1, wanted=True)
    """
    taken = [(click.x, click.y) for click in before]
    missing, x, y = _deepest(truth_HW & ~mask_HW, taken)
    surplus, other_x, other_y = _deepest(mask_HW & ~truth_HW, taken)
    if max(missing, surplus) == 0:
        return None
    return Click(x, y, wanted=True) if missing >= surplus else Click(other_x, other_y, wanted=False)


def _deepest(mask_HW: NDArray[np.bool_], taken: Collection[tuple[int, int]]) -> tuple[float, int, int]:
    """The distance of the deepest pixel that is not taken to the nearest one outside, and its x and y; or 0, -1, -1."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    if not len(rows):
        return 0.0, -1, -1
    top, left = rows[0], columns[0]
    # What is nearest outside is never farther than the ring around the box.
    box_HW = np.pad(mask_HW[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    depth_HW = ndimage.distance_transform_edt(box_HW)[1:-1, 1:-1]
    for x, y in taken:
        if 0 <= y - top < depth_HW.shape[0] and 0 <= x - left < depth_HW.shape[1]:
            depth_HW[y - top, x - left] = 0
    row, column = np.unravel_index(int(depth_HW.argmax()), depth_HW.shape)
    depth = float(depth_HW[row, column])
    return (depth, int(column + left), int(row + top)) if depth else (0.0, -1, -1)

"""The part of a mask that a sample shows, resized, straight from run-length code to run-length code.

Nothing dense is made: a mask of a photograph of 24 megapixels costs what its runs in the columns of the crop cost. A
pixel of the result belongs to the mask when the mask covers at least half of the pixel's area in the original, which is
counted exactly, in whole numbers. So a mask is resized about the same pixel centres as its image, which is resized with
anti-aliasing; taking the nearest pixel would leave random pieces of what is thinner than a pixel.

Axes: R runs of a code, H W pixels of the crop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dico.rle import decode_counts, encode_counts, run_ends


@dataclass(frozen=True)
class View:
    """What a sample shows of an image: the image resized, cropped, and perhaps mirrored.

    Attributes:
        original_hw: Height and width of the image in pixels.
        resized_hw: Height and width that it is resized to.
        crop_yx: Upper left corner of the crop in the resized image.
        crop_hw: Height and width of the crop.
        flipped: Whether the crop is mirrored, left to right.

    Raises:
        ValueError: when a size is not positive or the crop reaches outside the resized image.
    """

    original_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    crop_yx: tuple[int, int]
    crop_hw: tuple[int, int]
    flipped: bool = False

    def __post_init__(self) -> None:
        sizes = (*self.original_hw, *self.resized_hw, *self.crop_hw)
        inside = all(
            0 <= at <= whole - part for at, part, whole in zip(self.crop_yx, self.crop_hw, self.resized_hw, strict=True)
        )
        if min(sizes) < 1 or not inside:
            raise ValueError(f"crop must be a part of the resized image, got {self}")


def crop_rle(rle: bytes, view: View) -> tuple[bytes, int]:
    """The part of a mask in a view.

    Args:
        rle: Compressed COCO code of a mask of ``view.original_hw``.
        view: What is shown of it.

    Returns:
        The compressed code of a mask of ``view.crop_hw``, and its area in pixels.

    Raises:
        ValueError: when ``rle`` is damaged or not the code of a mask of the image's size.

    Example:
        >>> from dico.mask_codes import decode_mask, encode_mask
        >>> rle, area_px = crop_rle(encode_mask(np.tri(4)), View((4, 4), (2, 2), (0, 0), (2, 2), flipped=True))
        >>> decode_mask((2, 2), rle).astype(int).tolist(), area_px
        ([[0, 1], [1, 1]], 3)
    """
    ends_R = run_ends(rle, view.original_hw)
    counts = _crop(ends_R, view.original_hw, view.resized_hw, view.crop_yx, view.crop_hw, view.flipped)
    return encode_counts(counts), int(counts[1::2].sum())


def resized_area_px(rle: bytes, view: View) -> float:
    """How many pixels a mask has in the resized image of a view, of which the view may show a part.

    Args:
        rle: Compressed COCO code of a mask of ``view.original_hw``.
        view: Of which the sizes alone matter.
    """
    return float(decode_counts(rle)[1::2].sum()) * math.prod(view.resized_hw) / math.prod(view.original_hw)


def paint(rle: bytes, mask_HW: NDArray[np.bool_]) -> None:
    """Sets the pixels of a mask in an array of zeros that is at least as large.

    Args:
        rle: Compressed code of a mask of the array's size.
        mask_HW: bool (H, W), False everywhere; changed in place.

    Raises:
        ValueError: when ``rle`` is damaged or of a mask of another size.
    """
    counts = decode_counts(rle)
    if counts.sum(dtype=np.int64) != mask_HW.size:
        raise ValueError(f"rle must be of a mask of (H, W) = {mask_HW.shape}, got {counts.sum(dtype=np.int64)} pixels")
    _paint(counts, mask_HW.view(np.uint8))


@numba.njit(cache=True, nogil=True)
def _crop(
    ends_R: NDArray[np.int64],
    original_hw: tuple[int, int],
    resized_hw: tuple[int, int],
    crop_yx: tuple[int, int],
    crop_hw: tuple[int, int],
    flipped: bool,
) -> NDArray[np.uint32]:
    """Run lengths of the crop.

    Lengths are in units in which the borders of pixels of both grids are whole numbers: an original row is
    ``resized_hw[0]`` high and a resized one ``original_hw[0]``; widths likewise.
    """
    (height, width), (resized_h, resized_w) = original_hw, resized_hw
    (top, left), (crop_h, crop_w) = crop_yx, crop_hw
    first, last = top * height, (top + crop_h) * height
    half = height * width  # of twice the area of a resized pixel
    rise = np.zeros(crop_h + 2, dtype=np.int64)  # by how much the covered area of a row exceeds that of the row above
    counts = np.zeros(4 * (crop_h + crop_w), dtype=np.uint32)
    at = 0  # index of the run being written; odd runs are the mask
    for i in range(crop_w):
        x = left + (crop_w - 1 - i if flipped else i)
        low, high = crop_h, -1  # rows in which the covered area changes
        for j in range(x * width // resized_w, ((x + 1) * width - 1) // resized_w + 1):
            weight = min((x + 1) * width, (j + 1) * resized_w) - max(x * width, j * resized_w)
            column, stop = j * height, (j + 1) * height
            run = np.searchsorted(ends_R, column, side="right")
            start = column
            while start < stop:
                end = min(ends_R[run], stop)
                if run & 1:
                    upper = min(max((start - column) * resized_h, first), last)
                    lower = min(max((end - column) * resized_h, first), last)
                    if upper < lower:
                        y, rest = (upper - first) // height, (upper - first) % height
                        rise[y] += weight * (height - rest)
                        rise[y + 1] += weight * rest
                        low = min(low, y)
                        y, rest = (lower - first) // height, (lower - first) % height
                        rise[y] -= weight * (height - rest)
                        rise[y + 1] -= weight * rest
                        high = max(high, y + 1)
                start = end
                run += 1
        if at + crop_h + 3 > len(counts):  # a column has at most so many runs
            longer = np.zeros(2 * len(counts) + crop_h + 3, dtype=np.uint32)
            longer[: at + 1] = counts[: at + 1]
            counts = longer
        if high < 0:
            at += at & 1
            counts[at] += np.uint32(crop_h)
            continue
        if low > 0:
            at += at & 1
            counts[at] += np.uint32(low)
        covered = np.int64(0)
        for y in range(low, min(high + 1, crop_h)):
            covered += rise[y]
            at += (at & 1) ^ (1 if 2 * covered >= half else 0)
            counts[at] += np.uint32(1)
        rise[low : high + 1] = 0
        if high + 1 < crop_h:
            at += at & 1
            counts[at] += np.uint32(crop_h - high - 1)
    return counts[: at + 1]


@numba.njit(cache=True, nogil=True)
def _paint(counts: NDArray[np.uint32], mask_HW: NDArray[np.uint8]) -> None:
    # Runs go down columns, memory goes along rows. So only the two ends of each run are written, as changes from one
    # row to the next; then every row is made of the one above, many pixels at a time.
    height, width = mask_HW.shape
    first_x, last_x, first_y, last_y = width, -1, height, 0
    start = np.int64(0)
    for run in range(len(counts)):
        stop = start + np.int64(counts[run])
        while run & 1 and start < stop:
            x = start // height
            upper, lower = start - x * height, min(stop - x * height, height)
            mask_HW[upper, x] ^= 1
            if lower < height:
                mask_HW[lower, x] ^= 1
            first_x, last_x = min(first_x, x), x
            first_y, last_y = min(first_y, upper), max(last_y, lower)
            start = (x + 1) * height
        start = stop
    for y in range(first_y + 1, min(last_y + 1, height)):
        row, above = mask_HW[y, first_x : last_x + 1], mask_HW[y - 1, first_x : last_x + 1]
        for i in range(len(row)):
            row[i] ^= above[i]

"""Masks without specks and pinholes, found in run-length codes: the time depends on their borders, not on their pixels.

Source: Kirillov et al. 2023 (Segment Anything), Sec. B, which labels the pixels of each mask. Deviation: what is small
may depend on the size of its mask.

Axes: N masks, R runs, S runs cut at the ends of columns, X columns of an image.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dico.masks import MaskSet
from dico.rle import decode_counts, encode_counts


def without_small_regions(
    masks: MaskSet, min_region_px: float, min_region_share: float = 0.0
) -> tuple[MaskSet, NDArray[np.bool_]]:
    """Masks without small pieces and holes.

    Args:
        masks: Of any number.
        min_region_px: Smaller holes are filled, then smaller pieces removed; where all pieces are small, the largest
            stays, of equal ones that which begins farthest left. Pixels that touch at a corner are one piece, or one
            hole; what reaches the border of the image is no hole.
        min_region_share: So are those that are smaller than this share of their mask.

    Returns:
        As many masks, in their order; and bool (N,), whether each is another than before.

    Example:
        >>> mask_HW = np.ones((6, 6), dtype=bool)
        >>> mask_HW[2, 2] = mask_HW[:, 4] = False
        >>> cleaned, changed_N = without_small_regions(MaskSet.from_arrays(mask_HW[None]), 7)
        >>> cleaned.area_px.tolist(), cleaned.boxes_xyxy.tolist(), changed_N.tolist()
        ([24], [[0.0, 0.0, 4.0, 6.0]], [True])
    """
    rles, changed = [], []
    for rle in masks.rles:
        counts_R = decode_counts(rle)
        least_px = max(float(min_region_px), min_region_share * int(counts_R[1::2].sum()))
        cleaned_R, differs = _cleaned(counts_R, masks.size_hw[0], masks.size_hw[1], least_px)
        rles.append(encode_counts(cleaned_R) if differs else rle)
        changed.append(differs)
    return masks.with_fields(rles=tuple(rles)), np.array(changed, dtype=bool)


@numba.njit(cache=True, nogil=True)
def _cleaned(counts_R: NDArray[np.uint32], height: int, width: int, least_px: float) -> tuple[NDArray[np.uint32], bool]:
    """The run lengths of a mask without regions of fewer pixels, and whether they are others."""
    first_X, top_S, foot_S, inside_S = _cut_at_columns(counts_R, height, width)
    size_S = foot_S - top_S
    root_S = _components(first_X, top_S, foot_S, inside_S, False)
    area_S, is_open_S = np.zeros(len(top_S), dtype=np.int64), np.zeros(len(top_S), dtype=np.bool_)
    for x in range(width):
        for s in range(first_X[x], first_X[x + 1]):
            area_S[root_S[s]] += size_S[s]
            if x == 0 or x == width - 1 or top_S[s] == 0 or foot_S[s] == height:
                is_open_S[root_S[s]] = True
    differs = False
    for s in range(len(top_S)):
        if not inside_S[s] and not is_open_S[root_S[s]] and area_S[root_S[s]] < least_px:
            inside_S[s] = differs = True
    root_S = _components(first_X, top_S, foot_S, inside_S, True)
    area_S[:] = 0
    for s in range(len(top_S)):
        if inside_S[s]:
            area_S[root_S[s]] += size_S[s]
    # Roots are where components begin, so the first of the largest begins farthest left.
    largest = int(np.argmax(area_S))
    for s in range(len(top_S)):
        if inside_S[s] and area_S[root_S[s]] < least_px and root_S[s] != largest:
            inside_S[s] = False
            differs = True
    return _joined(size_S, inside_S), differs


@numba.njit(cache=True, nogil=True)
def _cut_at_columns(
    counts_R: NDArray[np.uint32], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Runs that end with their column: the first of each column, and of each the rows and whether it is the mask."""
    first_X = np.zeros(width + 1, dtype=np.int64)
    top_S, foot_S = np.empty(len(counts_R) + width, dtype=np.int64), np.empty(len(counts_R) + width, dtype=np.int64)
    inside_S = np.empty(len(counts_R) + width, dtype=np.bool_)
    s = x = y = 0
    for r in range(len(counts_R)):
        left = int(counts_R[r])
        while left > 0:
            length = min(left, height - y)
            top_S[s], foot_S[s], inside_S[s] = y, y + length, r % 2 == 1
            left, y, s = left - length, y + length, s + 1
            if y == height:
                x, y = x + 1, 0
                first_X[x] = s
    return first_X, top_S[:s], foot_S[:s], inside_S[:s]


@numba.njit(cache=True, nogil=True)
def _components(
    first_X: NDArray[np.int64],
    top_S: NDArray[np.int64],
    foot_S: NDArray[np.int64],
    inside_S: NDArray[np.bool_],
    wanted: bool,
) -> NDArray[np.int64]:
    """The first run of the component of each run that is wanted; pixels that touch at a corner are connected."""
    root_S = np.arange(len(top_S))
    for x in range(len(first_X) - 1):
        near = first_X[x - 1] if x else 0
        for s in range(first_X[x], first_X[x + 1]):
            if inside_S[s] != wanted:
                continue
            if s > first_X[x] and inside_S[s - 1] == wanted:
                _join(root_S, s - 1, s)
            if x == 0:
                continue
            while near < first_X[x] and foot_S[near] < top_S[s]:
                near += 1
            other = near
            while other < first_X[x] and top_S[other] <= foot_S[s]:
                if inside_S[other] == wanted:
                    _join(root_S, other, s)
                other += 1
    for s in range(len(root_S)):  # a root comes before what it is the root of
        root_S[s] = root_S[root_S[s]]
    return root_S


@numba.njit(cache=True, nogil=True)
def _join(root_S: NDArray[np.int64], one: int, other: int) -> None:
    one, other = _root_of(root_S, one), _root_of(root_S, other)
    root_S[max(one, other)] = min(one, other)


@numba.njit(cache=True, nogil=True)
def _root_of(root_S: NDArray[np.int64], s: int) -> int:
    while root_S[s] != s:
        root_S[s] = root_S[root_S[s]]
        s = root_S[s]
    return s


@numba.njit(cache=True, nogil=True)
def _joined(size_S: NDArray[np.int64], inside_S: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Run lengths of runs that may go on in the next column, background first."""
    counts_R = np.zeros(len(size_S) + 1, dtype=np.uint32)
    at = 0
    for s in range(len(size_S)):
        if (at % 2 == 1) != inside_S[s]:
            at += 1
        counts_R[at] += np.uint32(size_S[s])
    return counts_R[: at + 1]

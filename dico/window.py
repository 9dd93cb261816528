"""A box of a mask at a chosen resolution, and back: work on part of a large image without ever decoding all of it.

Axes: H W pixels of the image, h w pixels of the window (the box as it was resized). Boxes are half-open xyxy in pixels.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dico.rle import counts_of_borders, encode_counts, nearest_source, run_ends

Box = tuple[int, int, int, int]


def decode_window(rle: bytes, size_hw: tuple[int, int], box_xyxy: Box, window_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A box of a mask, resized to ``window_hw`` by taking the nearest pixel; costs the window, not the image.

    Args:
        rle: Compressed code of a mask.
        size_hw: Height and width of that mask in pixels.
        box_xyxy: Which part; half-open, inside the image, not empty.
        window_hw: Height and width of the result, at least 1 each.

    Returns:
        bool (h, w), in column-major order, as codes are.

    Raises:
        ValueError: when the box is empty or leaves the image, or ``rle`` is not of an image of ``size_hw``.

    Example:
        >>> from dico.mask_codes import encode_mask
        >>> decode_window(encode_mask(np.eye(4, dtype=bool)), (4, 4), (1, 1, 3, 3), (2, 2)).tolist()
        [[True, False], [False, True]]
    """
    x0, y0, x1, y1 = _checked(box_xyxy, size_hw)
    columns_w = x0 + nearest_source(x1 - x0, window_hw[1])
    return _sample(run_ends(rle, size_hw), size_hw[0], y0, y1, window_hw[0], columns_w).T


def encode_window(
    soft_hw: NDArray[np.floating],
    size_hw: tuple[int, int],
    box_xyxy: Box,
    *,
    window_hw: tuple[int, int] | None = None,
    corner_hw: tuple[int, int] = (0, 0),
) -> bytes:
    """The mask of an image that is ``soft_hw > 1/2`` in a box and background elsewhere.

    The window is resized to the box bilinearly before it is cut, so borders do not become staircases where the window
    is coarser than the image. Where both have one resolution nothing is interpolated.

    Args:
        soft_hw: (h, w): how much each pixel of the window, or of a part of it, belongs to the mask, 0..1.
        size_hw: Height and width of the image in pixels.
        box_xyxy: Where the window lies; half-open, inside the image, not empty.
        window_hw: Height and width of the window; None when ``soft_hw`` is all of it. Beside the part it is 0.
        corner_hw: The row and column of the window that ``soft_hw`` begins with.

    Returns:
        Compressed code of a mask of ``size_hw``.

    Raises:
        ValueError: when the box is empty or leaves the image, or the part leaves the window.

    Example:
        >>> from dico.mask_codes import decode_mask
        >>> decode_mask((2, 3), encode_window(np.ones((1, 1)), (2, 3), (1, 0, 3, 1))).tolist()
        [[False, True, True], [False, False, False]]
    """
    box_xyxy = _checked(box_xyxy, size_hw)
    h, w = soft_hw.shape if window_hw is None else window_hw
    row, column = corner_hw
    if not (0 <= row <= row + soft_hw.shape[0] <= h and 0 <= column <= column + soft_hw.shape[1] <= w):
        raise ValueError(f"soft_hw {soft_hw.shape} at {corner_hw} must lie in the window of (h, w) = {(h, w)}")
    soft_wh = np.ascontiguousarray(np.asarray(soft_hw, dtype=np.float32).T)
    return encode_counts(_counts(soft_wh, (row, column), (h, w), size_hw, box_xyxy))


def _checked(box_xyxy: Box, size_hw: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = (int(v) for v in box_xyxy)
    if not (0 <= x0 < x1 <= size_hw[1] and 0 <= y0 < y1 <= size_hw[0]):
        raise ValueError(f"box_xyxy must be a box inside an image of (H, W) = {size_hw}, got {box_xyxy}")
    return x0, y0, x1, y1


@numba.njit(cache=True)
def _sample(
    ends_R: NDArray[np.int64], height: int, y0: int, y1: int, h: int, columns_w: NDArray[np.int64]
) -> NDArray[np.bool_]:
    mask_wh = np.zeros((len(columns_w), h), dtype=np.bool_)
    of_column = 0
    for x in range(len(columns_w)):
        top, bottom = columns_w[x] * height + y0, columns_w[x] * height + y1
        while ends_R[of_column] <= top:
            of_column += 1
        run = of_column | 1  # the next column may be the same one again, so of_column stays
        while run < len(ends_R) and ends_R[run - 1] < bottom:
            start = _rows_above(max(ends_R[run - 1] - top, 0), y1 - y0, h)
            mask_wh[x, start : _rows_above(min(ends_R[run], bottom) - top, y1 - y0, h)] = True
            run += 2
    return mask_wh


@numba.njit(cache=True)
def _rows_above(row: int, n_from: int, n_to: int) -> int:
    """How many of ``n_to`` rows have their :func:`dico.rle.nearest_source` above ``row`` of ``n_from``."""
    return (2 * row * n_to + n_from - 1) // (2 * n_from)


@numba.njit(cache=True)
def _between(n_from: int, n_to: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The two of ``n_from`` pixels that each of ``n_to`` lies between, and how far it is on the way to the second."""
    before, after = np.empty(n_to, dtype=np.int64), np.empty(n_to, dtype=np.int64)
    share = np.empty(n_to, dtype=np.float32)
    for i in range(n_to):
        at = min(max((i + 0.5) * n_from / n_to - 0.5, 0.0), n_from - 1.0)
        before[i] = int(at)
        after[i] = min(before[i] + 1, n_from - 1)
        share[i] = at - before[i]
    return before, after, share


@numba.njit(cache=True)
def _counts(
    soft_wh: NDArray[np.float32],
    corner_hw: tuple[int, int],
    window_hw: tuple[int, int],
    size_hw: tuple[int, int],
    box_xyxy: Box,
) -> NDArray[np.uint32]:
    """The run lengths of the mask of the image, column-major, background first."""
    (row, column), (h, w), height = corner_hw, window_hw, size_hw[0]
    x0, y0, x1, y1 = box_xyxy
    left_X, right_X, share_X = _between(w, x1 - x0)
    upper_Y, lower_Y, share_Y = _between(h, y1 - y0)
    borders = np.empty(64, dtype=np.int64)  # where the mask begins, where it ends, where it begins again ...
    length = 0
    column_h, outside_h = np.zeros(h, dtype=np.float32), np.zeros(soft_wh.shape[1], dtype=np.float32)
    column_part_h = column_h[row : row + soft_wh.shape[1]]
    for x in range(x1 - x0):
        left, right, share = left_X[x] - column, right_X[x] - column, share_X[x]
        if right < 0 or left >= len(soft_wh):
            continue
        left_h = soft_wh[left] if left >= 0 else outside_h
        right_h = soft_wh[right] if right < len(soft_wh) else outside_h
        for y in range(len(column_part_h)):
            column_part_h[y] = left_h[y] + share * (right_h[y] - left_h[y])
        # Between values of at most 1/2 all is background: nothing is interpolated outside of the first and last above.
        above, below = row, row + len(column_part_h) - 1
        while above <= below and column_h[above] <= 0.5:
            above += 1
        while below > above and column_h[below] <= 0.5:
            below -= 1
        first, last = np.searchsorted(lower_Y, above), np.searchsorted(upper_Y, below, side="right")
        if length + 2 + last - first > len(borders):
            borders = np.concatenate((borders, np.empty(len(borders) + y1 - y0 + 2, dtype=np.int64)))
        top = (x0 + x) * height + y0
        for y in range(first, last):
            upper, lower = column_h[upper_Y[y]], column_h[lower_Y[y]]
            if (upper + share_Y[y] * (lower - upper) > 0.5) == (length & 1):
                continue
            if length and not length & 1 and borders[length - 1] == top + y:
                length -= 1  # it goes on where it ended, at the foot of the column before
            else:
                borders[length] = top + y
                length += 1
        if length & 1:
            borders[length] = top + last
            length += 1
    return counts_of_borders(borders[:length], height * size_hw[1])

"""A box of a mask at a chosen resolution, and back: work on part of a large image without ever decoding all of it.

Axes: H W pixels of the image, h w pixels of the window (the box as it was resized). Boxes are half-open xyxy in pixels.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dico.rle import encode_counts, nearest_source, run_ends

Box = tuple[int, int, int, int]


def decode_window(rle: bytes, size_hw: tuple[int, int], box_xyxy: Box, window_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """A box of a mask, resized to ``window_hw`` by taking the nearest pixel; costs the window, not the image.

    Args:
        rle: Compressed code of a mask.
        size_hw: Height and width of that mask in pixels.
        box_xyxy: Which part; half-open, inside the image, not empty.
        window_hw: Height and width of the result, at least 1 each.

    Returns:
        bool (h, w).

    Raises:
        ValueError: when the box is empty or leaves the image, or ``rle`` is not of an image of ``size_hw``.

    Example:
        >>> from dico.masks import encode_mask
        >>> decode_window(encode_mask(np.eye(4, dtype=bool)), (4, 4), (1, 1, 3, 3), (2, 2)).tolist()
        [[True, False], [False, True]]
    """
    x0, y0, x1, y1 = _checked(box_xyxy, size_hw)
    rows_h = y0 + nearest_source(y1 - y0, window_hw[0])
    columns_w = x0 + nearest_source(x1 - x0, window_hw[1])
    return _sample(run_ends(rle, size_hw), size_hw[0], rows_h, columns_w)


def encode_window(soft_hw: NDArray[np.floating], size_hw: tuple[int, int], box_xyxy: Box) -> bytes:
    """The mask of an image that is ``soft_hw > 1/2`` in a box and background elsewhere.

    The window is resized to the box bilinearly before the comparison, so the border is smooth where the window is
    coarser than the image. Where both have one resolution nothing is interpolated.

    Args:
        soft_hw: (h, w): how much each pixel of the window belongs to the mask, 0..1.
        size_hw: Height and width of the image in pixels.
        box_xyxy: Where the window lies; half-open, inside the image, not empty.

    Returns:
        Compressed code of a mask of ``size_hw``.

    Raises:
        ValueError: when the box is empty or leaves the image.

    Example:
        >>> from dico.masks import decode_mask
        >>> decode_mask((2, 3), encode_window(np.ones((1, 1)), (2, 3), (1, 0, 3, 1))).tolist()
        [[False, True, True], [False, False, False]]
    """
    x0, y0, x1, y1 = _checked(box_xyxy, size_hw)
    soft_wh = np.ascontiguousarray(np.asarray(soft_hw, dtype=np.float32).T)
    changes = _changes(soft_wh, size_hw[0], x0, y0, x1, y1)
    counts = np.diff(changes, prepend=0, append=size_hw[0] * size_hw[1])
    if counts[-1] == 0:  # the mask holds the last pixel, and a code does not end with an empty run
        counts = counts[:-1]
    return encode_counts(counts.astype(np.uint32))


def _checked(box_xyxy: Box, size_hw: tuple[int, int]) -> Box:
    x0, y0, x1, y1 = (int(v) for v in box_xyxy)
    if not (0 <= x0 < x1 <= size_hw[1] and 0 <= y0 < y1 <= size_hw[0]):
        raise ValueError(f"box_xyxy must be a box inside an image of (H, W) = {size_hw}, got {box_xyxy}")
    return x0, y0, x1, y1


@numba.njit(cache=True)
def _sample(
    ends_R: NDArray[np.int64], height: int, rows_h: NDArray[np.int64], columns_w: NDArray[np.int64]
) -> NDArray[np.bool_]:
    mask_hw = np.zeros((len(rows_h), len(columns_w)), dtype=np.bool_)
    of_column = 0
    for x in range(len(columns_w)):
        top = columns_w[x] * height
        while ends_R[of_column] <= top + rows_h[0]:
            of_column += 1
        run = of_column  # the next column may be the same one again, so of_column stays
        for y in range(len(rows_h)):
            while ends_R[run] <= top + rows_h[y]:
                run += 1
            mask_hw[y, x] = run & 1
    return mask_hw


@numba.njit(cache=True)
def _changes(soft_wh: NDArray[np.float32], height: int, x0: int, y0: int, x1: int, y1: int) -> NDArray[np.int64]:
    """The positions, column-major in the image, at which the mask begins or ends."""
    w, h = soft_wh.shape
    changes = np.empty(64, dtype=np.int64)
    length, inside = 0, False
    column_h = np.empty(h, dtype=np.float32)
    for x in range(x0, x1):
        at = min(max((x - x0 + 0.5) * w / (x1 - x0) - 0.5, 0.0), w - 1.0)
        left = int(at)
        right, share = min(left + 1, w - 1), np.float32(at - left)
        any_inside = False
        for y in range(h):
            column_h[y] = soft_wh[left, y] + share * (soft_wh[right, y] - soft_wh[left, y])
            any_inside = any_inside or column_h[y] > 0.5
        if inside and (y0 > 0 or not any_inside):  # the run went down to the last row of the column before
            changes[length] = (x - 1) * height + y1
            length, inside = length + 1, False
        if not any_inside:
            continue
        if length + (y1 - y0) + 2 > len(changes):
            changes = np.concatenate((changes, np.empty(len(changes) + (y1 - y0) + 2, dtype=np.int64)))
        for y in range(y0, y1):
            at = min(max((y - y0 + 0.5) * h / (y1 - y0) - 0.5, 0.0), h - 1.0)
            upper = int(at)
            lower, share = min(upper + 1, h - 1), np.float32(at - upper)
            now = column_h[upper] + share * (column_h[lower] - column_h[upper]) > 0.5
            if now != inside:
                changes[length] = x * height + y
                length, inside = length + 1, now
        if inside and y1 < height:
            changes[length] = x * height + y1
            length, inside = length + 1, False
    if inside:
        changes[length] = (x1 - 1) * height + y1
        length += 1
    return changes[:length]

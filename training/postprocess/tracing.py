"""Run lengths of masks straight from coarse logits: only what can lie inside a mask is ever interpolated.

The published way resizes logits twice (Cheng et al. 2022, Mask2Former's inference): from cells to the padded image that
the network saw, and, without the padding, from there to the original image; a mask is where the result is above 0. Both
steps are bilinear, hence linear and separable, and cells are coarser than the padded image: so each pixel of the
original is a mean of three by three cells with weights that belong to its row and its column. Pixels whose nine cells
are all background are background.

Axes: h w cells of the prediction, H W pixels of the original image, Y X rows and columns of it, T the three cells that
a pixel is a mean of, R runs, P pixels of a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dico.rle import counts_of_borders

TAPS = 3
"""Cells that a pixel is a mean of, along one axis."""


@dataclass(frozen=True, eq=False)
class Axis:
    """Along one axis, the cells that each pixel of the original image is a mean of.

    Attributes:
        cells_YT: int64 (Y, 3): which; rising along both axes.
        weights_YT: float32 (Y, 3): how much of each, at least 0; a row adds up to 1.
    """

    cells_YT: NDArray[np.int64]
    weights_YT: NDArray[np.float32]


def resize_twice(cells: int, padded: int, unpadded: int, original: int) -> Axis:
    """Two bilinear resizes, one after the other, as one.

    Args:
        cells: Of the prediction along this axis; at most ``padded``.
        padded: Pixels of the image that the network saw, which the cells cover evenly.
        unpadded: Those of them that are not padding; at most ``padded``.
        original: Pixels of the image in its file.

    Returns:
        What ``torch.nn.functional.interpolate`` (bilinear, without ``align_corners`` and anti-aliasing) does when it
        resizes ``cells`` to ``padded``, and the first ``unpadded`` of these to ``original``.

    Raises:
        ValueError: when a number is not positive or more than it may be.

    Example:
        >>> axis = resize_twice(2, 4, 3, 3)
        >>> axis.cells_YT.tolist(), axis.weights_YT.tolist()
        ([[0, 1, 1], [0, 1, 1], [0, 1, 1]], [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0]])
    """
    if not (1 <= cells <= padded and 1 <= unpadded <= padded and original >= 1):
        raise ValueError(
            f"cells and unpadded must be 1 to padded={padded} and original at least 1, got {cells}, {unpadded} and"
            f" {original}"
        )
    (near_P, far_P), share_P = _between(cells, padded)
    ends_2Y, share_Y = _between(unpadded, original)
    weights_YT = np.zeros((original, TAPS))
    first_Y = near_P[ends_2Y[0]]
    rows_Y = np.arange(original)
    for pixel_Y, of_pixel_Y in zip(ends_2Y, (1 - share_Y, share_Y), strict=True):
        for cell_P, of_cell_P in ((near_P, 1 - share_P), (far_P, share_P)):
            # A pixel and the next are at most a cell apart, so these are 0, 1 or 2.
            np.add.at(weights_YT, (rows_Y, cell_P[pixel_Y] - first_Y), of_pixel_Y * of_cell_P[pixel_Y])
    cells_YT = np.minimum(first_Y[:, None] + np.arange(TAPS), cells - 1)
    return Axis(cells_YT, weights_YT.astype(np.float32))


class Tracer:
    """Makes masks of one image from their logits; keeps room for the pixels of one mask.

    Args:
        rows: The vertical axis.
        columns: The horizontal axis.

    Example:
        >>> tracer = Tracer(resize_twice(2, 2, 2, 2), resize_twice(3, 3, 3, 3))
        >>> counts_R, inside_P = tracer.trace(np.array([[-1, -1], [2, -1], [4, 8]], dtype=np.float32))
        >>> counts_R.tolist(), inside_P.tolist()
        ([2, 1, 1, 2], [2.0, 4.0, 8.0])
    """

    def __init__(self, rows: Axis, columns: Axis) -> None:
        self._rows = rows
        self._columns = columns
        self._weights_TY = np.ascontiguousarray(rows.weights_YT.T)
        self._inside_P = np.empty(len(rows.cells_YT) * len(columns.cells_YT), dtype=np.float32)

    def trace(self, logits_wh: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Where the resized logits are above 0, and what they are there.

        Args:
            logits_wh: float32 (w, h), contiguous: column by column, as run lengths are.

        Returns:
            uint32 (R,), the run lengths of the mask of the original image, column-major, background first; and float32
            (P,), the logits of its pixels, column-major, which are overwritten by the next call.
        """
        rows, columns = self._rows, self._columns
        borders, pixels = _trace(
            logits_wh, rows.cells_YT, self._weights_TY, columns.cells_YT, columns.weights_YT, self._inside_P
        )
        return counts_of_borders(borders, len(self._inside_P)), self._inside_P[:pixels]


def _between(n_from: int, n_to: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The two of ``n_from`` pixels that each of ``n_to`` lies between, (2, n_to), and its way to the second."""
    at = np.clip((np.arange(n_to) + 0.5) * (n_from / n_to) - 0.5, 0, n_from - 1)
    near = at.astype(np.int64)
    return np.stack([near, np.minimum(near + 1, n_from - 1)]), at - near


@numba.njit(cache=True, nogil=True)
def _trace(
    logits_wh: NDArray[np.float32],
    cells_YT: NDArray[np.int64],
    weights_TY: NDArray[np.float32],
    cells_XT: NDArray[np.int64],
    weights_XT: NDArray[np.float32],
    inside_P: NDArray[np.float32],
) -> tuple[NDArray[np.int64], int]:
    """Where the mask begins, where it ends, where it begins again ..., column-major; and how many pixels it has."""
    h, height = logits_wh.shape[1], len(cells_YT)
    top_w, foot_w = _extents(logits_wh)
    # Pixels whose first cell is i are those from first_h[i] to first_h[i + 1]: they share all three.
    first_h = np.searchsorted(cells_YT[:, 0], np.arange(h + 1))
    column_h = np.zeros(h + 2, dtype=np.float32)
    borders = np.empty(256, dtype=np.int64)
    length = pixels = 0
    for x in range(len(cells_XT)):
        left, middle, right = cells_XT[x]
        top = min(top_w[left], top_w[middle], top_w[right])
        foot = max(foot_w[left], foot_w[middle], foot_w[right])
        if top > foot:
            continue
        above, below = max(top - 2, 0), min(foot + 3, h)
        a, b, c = weights_XT[x]
        for i in range(above, below):
            column_h[i] = a * logits_wh[left, i] + b * logits_wh[middle, i] + c * logits_wh[right, i]
        # Below the last row of cells its values go on, which is how resizing treats the border.
        column_h[below], column_h[below + 1] = column_h[below - 1], column_h[below - 1]
        if length + 2 + height > len(borders):
            borders = np.concatenate((borders, np.empty(len(borders) + height, dtype=np.int64)))
        start = x * height
        for i in range(above, foot + 1):
            upper, centre, lower = column_h[i], column_h[i + 1], column_h[i + 2]
            if max(upper, centre, lower) <= 0:
                continue
            for y in range(first_h[i], first_h[i + 1]):
                value = weights_TY[0, y] * upper + weights_TY[1, y] * centre + weights_TY[2, y] * lower
                if not value > 0:
                    continue
                inside_P[pixels] = value
                pixels += 1
                # A run goes on where the last one ended, also at the foot of the column before.
                if length and borders[length - 1] == start + y:
                    borders[length - 1] = start + y + 1
                else:
                    borders[length], borders[length + 1] = start + y, start + y + 1
                    length += 2
    return borders[:length], pixels


@numba.njit(cache=True, nogil=True)
def _extents(logits_wh: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last cell of each column that is above 0; h and -1 where none is."""
    w, h = logits_wh.shape
    top_w, foot_w = np.full(w, h, dtype=np.int64), np.full(w, -1, dtype=np.int64)
    for j in range(w):
        for i in range(h):
            if logits_wh[j, i] > 0:
                top_w[j] = i
                break
        for i in range(h - 1, top_w[j] - 1, -1):
            if logits_wh[j, i] > 0:
                foot_w[j] = i
                break
    return top_w, foot_w

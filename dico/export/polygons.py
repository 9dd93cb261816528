"""Masks as polygons, for formats that know nothing else.

Axes: H W pixels; P corners, as (x, y) in pixels, where pixel (0, 0) covers the square from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from skimage.measure import approximate_polygon, find_contours

TOLERANCE_PX = 0.5
"""A simplified outline lies within this distance of the one through the edges of the border pixels."""


def outlines(mask_HW: NDArray[np.bool_]) -> tuple[list[NDArray[np.float64]], int]:
    """The outer outlines of a mask's pieces, and how many holes they leave out.

    Pieces are 4-connected. Outlines run half a pixel outside the centres of border pixels and cut corners.

    Args:
        mask_HW: bool (H, W).

    Returns:
        One float64 (P, 2) polygon a piece, largest first, not closed; and the number of holes.

    Example:
        >>> mask_HW = np.zeros((5, 5), dtype=bool)
        >>> mask_HW[1:4, 1:4] = True
        >>> mask_HW[2, 2] = False
        >>> polygons, n_holes = outlines(mask_HW)
        >>> len(polygons), n_holes
        (1, 1)
    """
    if not mask_HW.any():
        return [], 0
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    y0, x0 = rows[0], columns[0]
    padded_HW = np.pad(mask_HW[y0 : rows[-1] + 1, x0 : columns[-1] + 1], 1).astype(np.float64)
    pieces: list[tuple[float, NDArray[np.float64]]] = []
    n_holes = 0
    for ring_yx in find_contours(padded_HW, 0.5):  # type: ignore[no-untyped-call]
        closed_P2 = ring_yx[:, ::-1] + (x0 - 0.5, y0 - 0.5)
        area = _signed_area(closed_P2)
        if area < 0:  # the outline runs the other way around what is not mask
            n_holes += 1
        else:
            pieces.append((area, _simplified(closed_P2)[:-1]))
    return [polygon_P2 for _, polygon_P2 in sorted(pieces, key=lambda piece: -piece[0])], n_holes


def joined(polygons: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """One polygon of several, connected by bridges without width at their nearest corners.

    Args:
        polygons: At least one float64 (P, 2), not closed.

    Returns:
        float64 (P, 2), not closed; its area is that of all.

    Example:
        >>> square_P2 = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
        >>> joined([square_P2, square_P2 + (3, 0)]).shape
        (10, 2)
    """
    whole_P2 = polygons[0]
    for polygon_P2 in polygons[1:]:
        i, j = np.unravel_index(np.argmin(cdist(whole_P2, polygon_P2)), (len(whole_P2), len(polygon_P2)))
        there_and_back_P2 = np.roll(polygon_P2, -j, axis=0)
        whole_P2 = np.concatenate([whole_P2[: i + 1], there_and_back_P2, polygon_P2[j : j + 1], whole_P2[i:]])
    return whole_P2


def _signed_area(closed_P2: NDArray[np.float64]) -> float:
    x_P, y_P = closed_P2.T
    return float(np.sum(x_P[:-1] * y_P[1:] - x_P[1:] * y_P[:-1]) / 2)


def _simplified(closed_P2: NDArray[np.float64]) -> NDArray[np.float64]:
    simple_P2: NDArray[np.float64] = approximate_polygon(closed_P2, TOLERANCE_PX)  # type: ignore[no-untyped-call]
    return simple_P2 if len(simple_P2) >= 4 else closed_P2  # a pixel or two would collapse to a line

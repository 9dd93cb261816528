"""The direction of colour along which a mask stands out from the rest of its view, and the view seen along it.

A guide of one channel costs a third of a colour guide, and unlike brightness this one shows an edge between colours of
equal brightness too. All sums are of whole numbers, so that they are exact in any order.

Axes: w h pixels of a view, column-major like the codes of masks, or of a part of one; C colour channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dico.image import Image

Part = tuple[slice, slice]
"""Columns and rows of a view."""


@dataclass(frozen=True, eq=False)
class Colours:
    """The colours of a view, and what every mask in it needs to know of them.

    Attributes:
        planes_Cwh: uint8 (3, w, h): red, green, blue.
        sum_C: int64 (3,), over all pixels.
        product_CC: int64 (3, 3), the sum of the outer products of colours with themselves.
    """

    planes_Cwh: NDArray[np.uint8]
    sum_C: NDArray[np.int64]
    product_CC: NDArray[np.int64]

    @classmethod
    def of(cls, pixels_hw3: Image) -> Colours:
        """The colours of uint8 (h, w, 3) pixels."""
        return cls(*_planes(pixels_hw3))

    def along_contrast(self, mask_wh: NDArray[np.bool_], part: Part) -> NDArray[np.float32]:
        """A part of the view along the direction in which the mask and all else differ most (Fisher's discriminant).

        Args:
            mask_wh: bool, a mask in ``part``; it has no pixel elsewhere.
            part: Where in the view it lies.

        Returns:
            float32, of the shape of ``mask_wh``: colour, from 0 to 1 in each channel, less the mean colour of the view,
            along a direction of length 1; brightness where there is nothing to tell apart.
        """
        planes_Cwh = self.planes_Cwh[:, *part]
        direction_C = _direction(planes_Cwh, mask_wh, self.planes_Cwh[0].size, self.sum_C, self.product_CC)
        offset = float(direction_C @ self.sum_C) / self.planes_Cwh[0].size
        return _project(planes_Cwh, (direction_C / 255).astype(np.float32), np.float32(offset / 255))


@numba.njit(cache=True)
def _planes(pixels_hw3: Image) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    height, width = pixels_hw3.shape[:2]
    planes_Cwh = np.empty((3, width, height), dtype=np.uint8)
    sum_C, product_CC = np.zeros(3, dtype=np.int64), np.zeros((3, 3), dtype=np.int64)
    for c in range(3):
        for y in range(height):
            for x in range(width):
                planes_Cwh[c, x, y] = pixels_hw3[y, x, c]
    for c in range(3):
        one_X = planes_Cwh[c].ravel()
        for i in range(len(one_X)):
            sum_C[c] += one_X[i]
        for d in range(c + 1):
            other_X = planes_Cwh[d].ravel()
            for i in range(len(one_X)):
                product_CC[c, d] += np.int64(one_X[i]) * np.int64(other_X[i])
            product_CC[d, c] = product_CC[c, d]
    return planes_Cwh, sum_C, product_CC


@numba.njit(cache=True)
def _direction(
    planes_Cwh: NDArray[np.uint8],
    mask_wh: NDArray[np.bool_],
    n_pixels: int,
    sum_C: NDArray[np.int64],
    product_CC: NDArray[np.int64],
) -> NDArray[np.float64]:
    """float64 (3,) of length 1."""
    area_px, inside_C = 0, np.zeros(3, dtype=np.int64)
    for x in range(mask_wh.shape[0]):
        mask_h = mask_wh[x]
        area_px += np.sum(mask_h)
        for c in range(3):
            plane_h, total = planes_Cwh[c, x], np.int64(0)
            for y in range(len(mask_h)):
                total += np.int64(plane_h[y]) * np.int64(mask_h[y])
            inside_C[c] += total
    brightness_C = np.full(3, 3**-0.5)
    share = area_px / n_pixels
    if share == 0 or share == 1:
        return brightness_C
    mean_in_C = inside_C / (255 * area_px)
    mean_out_C = (sum_C - inside_C) / (255 * (n_pixels - area_px))
    within_CC = np.empty((3, 3))
    for c in range(3):
        for d in range(3):
            between = share * mean_in_C[c] * mean_in_C[d] + (1 - share) * mean_out_C[c] * mean_out_C[d]
            within_CC[c, d] = product_CC[c, d] / (255**2 * n_pixels) - between
        within_CC[c, c] += 1e-3  # the noise of 8-bit photographs keeps the scatter invertible
    direction_C = _solved(within_CC, mean_in_C - mean_out_C)
    length = np.sqrt(np.sum(direction_C**2))
    return direction_C / length if length > 1e-6 else brightness_C


@numba.njit(cache=True)
def _solved(matrix_CC: NDArray[np.float64], right_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """The solution for a positive definite matrix, by elimination; changes what it is given.

    Numba would compile ``np.linalg.solve`` too, and take seconds longer at the first use.
    """
    for c in range(3):
        for d in range(3):
            if d != c:
                factor = matrix_CC[d, c] / matrix_CC[c, c]
                matrix_CC[d] -= factor * matrix_CC[c]
                right_C[d] -= factor * right_C[c]
    return right_C / np.diag(matrix_CC)


@numba.njit(cache=True)
def _project(planes_Cwh: NDArray[np.uint8], weight_C: NDArray[np.float32], offset: np.float32) -> NDArray[np.float32]:
    _, width, height = planes_Cwh.shape
    guide_wh = np.empty((width, height), dtype=np.float32)
    for x in range(width):
        guide_h, red_h, green_h, blue_h = guide_wh[x], planes_Cwh[0, x], planes_Cwh[1, x], planes_Cwh[2, x]
        for y in range(height):
            guide_h[y] = weight_C[0] * red_h[y] + weight_C[1] * green_h[y] + weight_C[2] * blue_h[y] - offset
    return guide_wh

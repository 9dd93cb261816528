"""Resizing one pixel at a time: a dense mask by the nearest pixel, values bilinearly."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray


def resize_nearest(mask_HW: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixel whose area holds the centre of each new pixel."""
    resized_hw = np.zeros(size_hw, dtype=bool)
    for y in range(size_hw[0]):
        for x in range(size_hw[1]):
            row = floor((y + Fraction(1, 2)) * mask_HW.shape[0] / size_hw[0])
            column = floor((x + Fraction(1, 2)) * mask_HW.shape[1] / size_hw[1])
            resized_hw[y, x] = mask_HW[row, column]
    return resized_hw


def resize_bilinear(values_hw: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Each pixel between the four around its middle; beyond the outermost middles nothing changes."""
    (h, w), (height, width) = values_hw.shape, size_hw
    resized_HW = np.empty(size_hw)
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            u = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            (top, left), (bottom, right) = (int(v), int(u)), (min(int(v) + 1, h - 1), min(int(u) + 1, w - 1))
            upper = values_hw[top, left] * (1 - u % 1) + values_hw[top, right] * (u % 1)
            lower = values_hw[bottom, left] * (1 - u % 1) + values_hw[bottom, right] * (u % 1)
            resized_HW[y, x] = upper * (1 - v % 1) + lower * (v % 1)
    return resized_HW

"""Nearest-neighbour resizing of a dense mask, one pixel at a time."""

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

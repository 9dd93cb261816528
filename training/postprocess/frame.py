"""The three sizes of an image on its way through a network, and how places in one are places in another.

Axes: H W pixels, h w cells; the last axis of places is x, y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.postprocess.tracing import Axis, resize_twice


@dataclass(frozen=True)
class Frame:
    """What a network saw of an image.

    Attributes:
        padded_hw: Height and width of its input in pixels.
        unpadded_hw: Those of the resized image in the upper left corner of it.
        original_hw: Those of the image in its file.
    """

    padded_hw: tuple[int, int]
    unpadded_hw: tuple[int, int]
    original_hw: tuple[int, int]

    def axes(self, cells_hw: tuple[int, int]) -> tuple[Axis, Axis]:
        """The rows and the columns of the original image as means of cells that cover the padded one evenly.

        Args:
            cells_hw: How many there are.

        Raises:
            ValueError: when they do not fit the frame.
        """
        sizes = zip(cells_hw, self.padded_hw, self.unpadded_hw, self.original_hw, strict=True)
        rows, columns = (resize_twice(*of_axis) for of_axis in sizes)
        return rows, columns

    def shares(self, places_xy: NDArray[Any]) -> NDArray[np.float32]:
        """Places of the original image as shares of the padded one.

        Args:
            places_xy: (..., 2) in pixels from the upper left corner of the image, where pixels have a width: the middle
                of the first one is at 0.5.

        Returns:
            float32 (..., 2).

        Example:
            >>> Frame((64, 128), (48, 96), (480, 960)).shares(np.array([0.5 * 960, 480.0])).tolist()
            [0.375, 0.75]
        """
        shown_hw = np.divide(self.unpadded_hw, self.padded_hw)
        shares: NDArray[np.float32] = (places_xy * (shown_hw / self.original_hw)[::-1]).astype(np.float32)
        return shares

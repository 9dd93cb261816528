"""Where an image is clicked when everything in it is wanted: a grid of places, in the image and in crops of it.

Source: Kirillov et al. 2023 (Segment Anything), Sec. B.

Axes: P clicks; 2 = x, y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.config import AutomaticConfig


@dataclass(frozen=True)
class Crop:
    """A part of an image that is looked at on its own.

    Attributes:
        box_xyxy: Half-open, in pixels.
        points_per_side: How many clicks it gets along either side.
    """

    box_xyxy: tuple[int, int, int, int]
    points_per_side: int

    @property
    def area_px(self) -> int:
        """Its pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x1 - x0) * (y1 - y0)


def crops_of(size_hw: tuple[int, int], config: AutomaticConfig) -> list[Crop]:
    """The image itself, then the crops of each layer, row by row; those without a pixel are left out.

    Args:
        size_hw: Of the image.
        config: How many layers, how much crops overlap, how many clicks they get.

    Example:
        >>> config = AutomaticConfig(crop_layers=1, crop_overlap=0.5, crop_points_divisor=2)
        >>> [(crop.box_xyxy, crop.points_per_side) for crop in crops_of((4, 10), config)][:3]
        [((0, 0, 10, 4), 32), ((0, 0, 6, 3), 16), ((4, 0, 10, 3), 16)]
    """
    height, width = size_hw
    crops = [Crop((0, 0, width, height), config.points_per_side)]
    for layer in range(1, config.crop_layers + 1):
        count = 2**layer
        overlap = int(config.crop_overlap * min(size_hw) * 2 / count)
        sides = [-(-(overlap * (count - 1) + side) // count) for side in (width, height)]
        points = max(1, config.points_per_side // config.crop_points_divisor**layer)
        for row in range(count):
            for column in range(count):
                x0, y0 = ((side - overlap) * place for side, place in zip(sides, (column, row), strict=True))
                x1, y1 = min(x0 + sides[0], width), min(y0 + sides[1], height)
                if x0 < x1 and y0 < y1:
                    crops.append(Crop((x0, y0, x1, y1), points))
    return crops


def click_grid(size_hw: tuple[int, int], points_per_side: int) -> NDArray[np.float64]:
    """Clicks that cover an image evenly, row by row.

    Args:
        size_hw: Of the image.
        points_per_side: The same along both sides.

    Returns:
        float64 (P, 2): places between pixels, as :func:`training.pixel_prompts.prompts_of` takes them.

    Example:
        >>> click_grid((4, 8), 2).tolist()
        [[1.5, 0.5], [5.5, 0.5], [1.5, 2.5], [5.5, 2.5]]
    """
    shares = (np.arange(points_per_side) + 0.5) / points_per_side
    x_P, y_P = np.meshgrid(shares * size_hw[1] - 0.5, shares * size_hw[0] - 0.5)
    return np.stack((x_P.ravel(), y_P.ravel()), axis=1)

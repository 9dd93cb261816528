"""Borders from a guided filter: cheap, and nothing to compile.

Axes: h w pixels of a view, X pixels in a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from dico.config import RefineConfig
from dico.image import Image
from dico.masks import MaskSet
from dico.refine.base import look, replace_masks, surroundings, whole


class GuidedFilter:
    """Each mask is filtered with the image as guide, in a view of its own, and cut at one half."""

    def __init__(self, config: RefineConfig) -> None:
        self.config = config

    def refine(self, image: Image, masks: MaskSet) -> MaskSet:
        """The masks with their borders on the image's edges; as :class:`dico.refine.base.Refiner` says."""
        masks = masks[masks.area_px > 0]
        everything = whole(image, self.config.max_side)
        colours_of_everything = Colours.of(everything.pixels_hw3)
        rles = []
        for rle, box_xyxy in zip(masks.rles, masks.boxes_xyxy, strict=True):
            near = surroundings(box_xyxy, masks.size_hw)
            if near is None:
                view, colours = everything, colours_of_everything
            else:
                view = look(image, near, self.config.max_side // 2)
                colours = Colours.of(view.pixels_hw3)
            rles.append(view.encode(self._soft_mask(colours, view.decode(rle))))
        return replace_masks(masks, rles, self.config)

    def _soft_mask(self, colours: Colours, mask_hw: NDArray[np.bool_]) -> NDArray[np.floating]:
        # A window much larger than the mask would see mostly background and rub the mask out.
        radius = min(self.config.guided_radius, max(1, round(mask_hw.sum() ** 0.5 / 4)))
        guide_hw = colours.contrast(mask_hw)
        return guided_filter(guide_hw, mask_hw.astype(np.float32), radius=radius, eps=self.config.guided_eps)


@dataclass(frozen=True, eq=False)
class Colours:
    """The colours of a view, and what every mask in it needs to know of them.

    Attributes:
        pixels_X3: float32 (h x w, 3), 0..1.
        size_hw: Height and width of the view.
        mean_3: float64 (3,), the mean colour.
        moment_33: float64 (3, 3), the mean of the outer products of colours with themselves.
    """

    pixels_X3: NDArray[np.float32]
    size_hw: tuple[int, int]
    mean_3: NDArray[np.float64]
    moment_33: NDArray[np.float64]

    @classmethod
    def of(cls, pixels_hw3: Image) -> Colours:
        """The colours of uint8 (h, w, 3) pixels."""
        pixels_X3 = pixels_hw3.reshape(-1, 3).astype(np.float32) / np.float32(255)
        exact_X3 = pixels_X3.astype(np.float64)
        size_hw = (pixels_hw3.shape[0], pixels_hw3.shape[1])
        return cls(pixels_X3, size_hw, exact_X3.mean(axis=0), exact_X3.T @ exact_X3 / len(exact_X3))

    def contrast(self, mask_hw: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The colours along the direction in which a mask and its surroundings differ most (Fisher's discriminant).

        A guide of one channel costs a third of a colour guide, and unlike brightness this one shows an edge between
        colours of equal brightness too.

        Args:
            mask_hw: bool (h, w).

        Returns:
            float32 (h, w) in units of colour from 0 to 1; brightness where there is nothing to tell apart.
        """
        share = float(mask_hw.mean())
        axis = np.full(3, 3**-0.5)
        if 0 < share < 1:
            inside = (mask_hw.ravel().astype(np.float32) @ self.pixels_X3).astype(np.float64) / mask_hw.sum()
            outside = (self.mean_3 - share * inside) / (1 - share)
            between = share * np.outer(inside, inside) + (1 - share) * np.outer(outside, outside)
            # The noise of 8-bit photographs keeps the scatter invertible.
            direction = np.linalg.solve(self.moment_33 - between + np.eye(3) * 1e-3, inside - outside)
            length = float(np.linalg.norm(direction))
            if length > 1e-6:
                axis = direction / length
        guide_hw: NDArray[np.float32] = (self.pixels_X3 @ axis.astype(np.float32)).reshape(self.size_hw)
        return guide_hw


def guided_filter(
    guide_hw: NDArray[np.floating], input_hw: NDArray[np.floating], *, radius: int, eps: float
) -> NDArray[np.floating]:
    """The input, smoothed, with its edges where the guide has edges.

    He, Sun and Tang, Guided Image Filtering (2013), Algorithm 1, for one channel. Deviation: windows that leave the
    image are completed by reflection instead of cut, which spares the division by their sizes.

    Args:
        guide_hw: (h, w), in units in which ``eps`` is meant.
        input_hw: (h, w), to be filtered.
        radius: Windows have 2 x radius + 1 pixels a side.
        eps: Guides that vary less than this in a window are flat there: the input is averaged.

    Returns:
        (h, w) in the precision of the guide.

    Example:
        >>> guided_filter(np.zeros((3, 3)), np.eye(3), radius=1, eps=1e-3).shape
        (3, 3)
    """

    def mean(values_hw: NDArray[np.floating]) -> NDArray[np.floating]:
        averaged: NDArray[np.floating] = uniform_filter(values_hw, 2 * radius + 1)
        return averaged

    mean_guide, mean_input = mean(guide_hw), mean(input_hw)
    covariance = mean(guide_hw * input_hw) - mean_guide * mean_input
    variance = np.maximum(mean(guide_hw * guide_hw) - mean_guide**2, 0)  # rounding can take it below 0
    slope = covariance / (variance + eps)
    return np.asarray(mean(slope) * guide_hw + mean(mean_input - slope * mean_guide))

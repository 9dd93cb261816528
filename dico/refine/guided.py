"""Borders from a guided filter: cheap, and nothing to compile.

Axes: h w pixels of a view.
"""

from __future__ import annotations

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
        rles = []
        for rle, box_xyxy in zip(masks.rles, masks.boxes_xyxy, strict=True):
            near = surroundings(box_xyxy, masks.size_hw)
            view = everything if near is None else look(image, near, self.config.max_side // 2)
            rles.append(view.encode(self._soft_mask(view.pixels_hw3, view.decode(rle))))
        return replace_masks(masks, rles, self.config)

    def _soft_mask(self, pixels_hw3: Image, mask_hw: NDArray[np.bool_]) -> NDArray[np.float64]:
        # A window much larger than the mask would see mostly background and rub the mask out.
        radius = min(self.config.guided_radius, max(1, round(mask_hw.sum() ** 0.5 / 4)))
        guide_hw = contrast_guide(pixels_hw3, mask_hw)
        return guided_filter(guide_hw, mask_hw.astype(np.float64), radius=radius, eps=self.config.guided_eps)


def guided_filter(
    guide_hw: NDArray[np.floating], input_hw: NDArray[np.floating], *, radius: int, eps: float
) -> NDArray[np.float64]:
    """The input, smoothed, with its edges where the guide has edges.

    He, Sun and Tang, Guided Image Filtering (2013), Algorithm 1, for one channel. Deviation: windows that leave the
    image are completed by reflection instead of cut, which spares the division by their sizes.

    Args:
        guide_hw: (h, w), in units in which ``eps`` is meant.
        input_hw: (h, w), to be filtered.
        radius: Windows have 2 x radius + 1 pixels a side.
        eps: Guides that vary less than this in a window are flat there: the input is averaged.

    Returns:
        float64 (h, w).

    Example:
        >>> guided_filter(np.zeros((3, 3)), np.eye(3), radius=1, eps=1e-3).shape
        (3, 3)
    """

    def mean(values_hw: NDArray[np.floating]) -> NDArray[np.float64]:
        averaged: NDArray[np.float64] = uniform_filter(values_hw.astype(np.float64), 2 * radius + 1)
        return averaged

    mean_guide, mean_input = mean(guide_hw), mean(input_hw)
    covariance = mean(guide_hw * input_hw) - mean_guide * mean_input
    variance = np.maximum(mean(guide_hw * guide_hw) - mean_guide**2, 0)  # rounding can take it below 0
    slope = covariance / (variance + eps)
    return mean(slope) * guide_hw + mean(mean_input - slope * mean_guide)


def contrast_guide(pixels_hw3: Image, mask_hw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The colours along the direction in which a mask and its surroundings differ most (Fisher's discriminant).

    A guide of one channel costs a third of a colour guide, and unlike brightness this one shows an edge between colours
    of equal brightness too.

    Args:
        pixels_hw3: uint8 (h, w, 3).
        mask_hw: bool (h, w).

    Returns:
        float64 (h, w) in units of colour from 0 to 1; brightness where there is nothing to tell apart.
    """
    colours_hw3 = pixels_hw3 / 255.0
    inside, outside = colours_hw3[mask_hw], colours_hw3[~mask_hw]
    brightness = np.full(3, 3**-0.5)
    if len(inside) and len(outside):
        difference = inside.mean(axis=0) - outside.mean(axis=0)
        centred = np.concatenate([inside - inside.mean(axis=0), outside - outside.mean(axis=0)])
        # The noise of 8-bit photographs keeps the scatter invertible.
        scatter = centred.T @ centred / len(centred) + np.eye(3) * 1e-3
        direction = np.linalg.solve(scatter, difference)
        length = float(np.linalg.norm(direction))
        axis = direction / length if length > 1e-9 else brightness
    else:
        axis = brightness
    guide_hw: NDArray[np.float64] = colours_hw3 @ axis
    return guide_hw

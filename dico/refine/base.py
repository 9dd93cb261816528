"""What every refiner shares: the protocol, the part of the image that a mask is seen in, and which masks survive.

Axes: N masks, h w pixels of a view (a box of the image, reduced). Boxes are half-open xyxy in pixels of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle

from dico.config import RefineConfig
from dico.image import Image, crop, resize_image
from dico.masks import MaskSet
from dico.window import Box, decode_window, encode_window

_SMALL_FRAC = 0.25  # of the image: below this a view of its own costs less than a label of the whole image
_MIN_SIDE = 16  # a very long image is not reduced to fewer pixels than this across


class Refiner(Protocol):
    """Fits the borders of masks to an image. Pure: the same input gives the same output."""

    def refine(self, image: Image, masks: MaskSet) -> MaskSet:
        """The masks that survive, refined, in their order, with parents re-linked to the nearest that survives."""
        ...


class Unrefined:
    """The refiner that leaves every mask as it is."""

    def refine(self, image: Image, masks: MaskSet) -> MaskSet:
        """``masks`` itself."""
        return masks


@dataclass(frozen=True)
class View:
    """A box of an image, reduced to the resolution that refinement works at.

    Attributes:
        pixels_hw3: uint8 (h, w, 3) RGB.
        box_xyxy: The box, in pixels of the image.
        size_hw: Height and width of the image.
    """

    pixels_hw3: Image
    box_xyxy: Box
    size_hw: tuple[int, int]

    def decode(self, rle: bytes) -> NDArray[np.bool_]:
        """bool (h, w), column-major: what of a mask lies in the view."""
        height, width = self.pixels_hw3.shape[:2]
        return decode_window(rle, self.size_hw, self.box_xyxy, (height, width))

    def encode(self, soft_hw: NDArray[np.floating], *, corner_hw: tuple[int, int] = (0, 0)) -> bytes:
        """The mask of the image that is ``soft_hw > 1/2`` in a part of the view and background elsewhere.

        Args:
            soft_hw: How much each pixel belongs to the mask, 0..1: for all of the view or for a part of it.
            corner_hw: The row and column of the view that the part begins with.
        """
        window_hw = self.pixels_hw3.shape[0], self.pixels_hw3.shape[1]
        return encode_window(soft_hw, self.size_hw, self.box_xyxy, window_hw=window_hw, corner_hw=corner_hw)

    def around(self, box_xyxy: Box, margin: int) -> Box:
        """A box of the image in pixels of the view: all it touches and ``margin`` more, as far as the view goes."""
        height, width = self.pixels_hw3.shape[:2]
        left, top, right, bottom = self.box_xyxy
        x0, x1 = ((x - left) * width / (right - left) for x in (box_xyxy[0], box_xyxy[2]))
        y0, y1 = ((y - top) * height / (bottom - top) for y in (box_xyxy[1], box_xyxy[3]))
        low = max(0, math.floor(x0) - margin), max(0, math.floor(y0) - margin)
        return *low, min(width, math.ceil(x1) + margin), min(height, math.ceil(y1) + margin)


def look(image: Image, box_xyxy: Box, max_side: int) -> View:
    """A view of a box whose longer side has at most ``max_side`` pixels; nothing is enlarged."""
    x0, y0, x1, y1 = box_xyxy
    scale = min(1.0, max_side / max(x1 - x0, y1 - y0))
    height, width = (max(round(side * scale), min(side, _MIN_SIDE)) for side in (y1 - y0, x1 - x0))
    return View(resize_image(crop(image, box_xyxy), (height, width)), box_xyxy, (image.shape[0], image.shape[1]))


def whole(image: Image, max_side: int) -> View:
    """The view of all of an image."""
    return look(image, (0, 0, image.shape[1], image.shape[0]), max_side)


def surroundings(box_xyxy: Sequence[float] | NDArray[np.floating], size_hw: tuple[int, int]) -> Box | None:
    """A box about twice as wide and high as a mask's, cut at the image's border; None when that is much of the image.

    Example:
        >>> surroundings((10, 10, 20, 14), (100, 200)), surroundings((10, 10, 90, 90), (100, 200))
        ((5, 8, 25, 16), None)
    """
    x0, y0, x1, y1 = (int(v) for v in box_xyxy)
    beside, above = (x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2
    grown = (max(0, x0 - beside), max(0, y0 - above), min(size_hw[1], x1 + beside), min(size_hw[0], y1 + above))
    area_px = (grown[2] - grown[0]) * (grown[3] - grown[1])
    return grown if area_px < _SMALL_FRAC * size_hw[0] * size_hw[1] else None


def survivors(before: MaskSet, after: MaskSet, config: RefineConfig) -> NDArray[np.bool_]:
    """The keep rule: which masks are still themselves after refinement.

    Args:
        before: N masks.
        after: The same N masks, refined.
        config: ``min_iou`` and ``max_area_frac`` count.

    Returns:
        bool (N,): True where the refined mask is not empty, has an IoU of at least ``min_iou`` with what it was, and
        covers at most ``max_area_frac`` of the image.
    """
    pairs = zip(before.to_rle_dicts(), after.to_rle_dicts(), strict=True)
    iou_N = np.array([coco_rle.iou([old], [new], [0])[0, 0] for old, new in pairs], dtype=np.float64)
    areas_N = after.area_px
    largest_px = config.max_area_frac * after.size_hw[0] * after.size_hw[1]
    kept: NDArray[np.bool_] = (areas_N > 0) & (areas_N <= largest_px) & (iou_N >= config.min_iou)
    return kept


def replace_masks(before: MaskSet, rles: Sequence[bytes], config: RefineConfig) -> MaskSet:
    """The survivors among refined masks; everything but the pixels is as it was before."""
    after = before.with_fields(rles=tuple(rles))
    return after[survivors(before, after, config)]

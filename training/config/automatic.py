"""How a promptable model is asked for all masks of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dico.config_loading import require


@dataclass(frozen=True)
class AutomaticConfig:
    """A grid of clicks, and which of the masks that they give are kept; defaults as published (Semantic-SAM).

    What is kept goes through the limits of ``inference`` at the end: ``max_masks``, ``min_score``, ``max_iou`` and
    ``min_area_px``; the score is the predicted IoU.
    """

    points_per_side: int = 32
    """The image, and every crop of it, is clicked at so many places along either side."""
    min_iou: float = 0.88
    """Masks that are predicted to be worse are left out (published demo: 0.7)."""
    min_stability: float = 0.92
    """So are masks whose IoU with themselves, cut at a higher and at a lower logit, is below this (published demo:
    0.7)."""
    stability_offset: float = 1.0
    """How much higher and lower."""
    max_box_iou: float = 0.7
    """Of two masks whose boxes overlap more than this, the better stays; 1 keeps both."""
    min_region_px: int = 10
    """Pieces of a mask that are smaller are removed, smaller holes are filled, and so small masks left out, in pixels
    of the original image. ``inference.min_region_share`` does so by the size of each mask."""
    crop_layers: int = 0
    """The image is seen again in crops so often, with 2 x 2 of them, then 4 x 4 ..."""
    crop_overlap: float = 512 / 1500
    """Crops share such a part of the image's shorter side, half of it in the second layer ..."""
    crop_points_divisor: int = 1
    """Each layer of crops has so many times fewer points a side than the one before."""
    crop_edge_px: int = 20
    """What comes so near to a crop's border within the image is left out: it may be cut off."""

    def __post_init__(self) -> None:
        for name in ("points_per_side", "crop_points_divisor"):
            require(getattr(self, name) >= 1, f"automatic.{name}", "at least 1", getattr(self, name))
        for name in ("min_region_px", "crop_layers", "crop_edge_px"):
            require(getattr(self, name) >= 0, f"automatic.{name}", "at least 0", getattr(self, name))
        for name in ("min_iou", "min_stability", "max_box_iou"):
            require(0 <= getattr(self, name) <= 1, f"automatic.{name}", "within [0, 1]", getattr(self, name))
        is_offset = 0 < self.stability_offset < math.inf
        require(is_offset, "automatic.stability_offset", "above 0 and finite", self.stability_offset)
        require(0 <= self.crop_overlap < 1, "automatic.crop_overlap", "within [0, 1)", self.crop_overlap)

"""What training lowers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dico.config_loading import require


@dataclass(frozen=True)
class LossConfig:
    """The matching of predictions with targets, and the losses (Cheng et al. 2022, Sec. 3.2 and 3.3)."""

    class_weight: float = 2.0
    """Weight of the cross-entropy of the class, in the matching and in the loss."""
    mask_weight: float = 5.0
    """Weight of the binary cross-entropy of the mask, in both."""
    dice_weight: float = 5.0
    """Weight of the dice loss of the mask, in both."""
    box_weight: float = 5.0
    """Weight of the absolute differences of the box, in both. This and the next two are for ``promptable``."""
    giou_weight: float = 2.0
    """Weight of the generalised IoU of the box, in both."""
    iou_weight: float = 1.0
    """Weight of the squared error of the predicted IoU, in the loss."""
    no_object_weight: float = 0.1
    """Weight of a query without a target in the cross-entropy of the class; one with a target has 1."""
    points: int = 12_544
    """Masks are compared at so many points: 112 x 112."""
    oversample: float = 3.0
    """The loss draws this many times as many candidates and takes the most uncertain of them,"""
    importance: float = 0.75
    """for this share of its points; the others are drawn anew."""
    drop_iou: float = 0.0
    """DropLoss (Wang et al. 2023, Sec. 3.3): a prediction whose IoU with its target is at most this takes no mask loss,
    as the label may be wrong (published: 0.01). Over the cells of the prediction; 0 leaves it out."""

    def __post_init__(self) -> None:
        for name in ("class_weight", "mask_weight", "dice_weight", "box_weight", "giou_weight", "iou_weight"):
            require(0 <= getattr(self, name) < math.inf, f"loss.{name}", "finite and at least 0", getattr(self, name))
        require(0 < self.no_object_weight < math.inf, "loss.no_object_weight", "above 0", self.no_object_weight)
        require(self.points >= 1, "loss.points", "at least 1", self.points)
        require(1 <= self.oversample < math.inf, "loss.oversample", "finite and at least 1", self.oversample)
        require(0 <= self.importance <= 1, "loss.importance", "within [0, 1]", self.importance)
        require(0 <= self.drop_iou < 1, "loss.drop_iou", "within [0, 1)", self.drop_iou)

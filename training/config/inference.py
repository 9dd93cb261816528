"""How a trained model is asked, and what is measured."""

from __future__ import annotations

from dataclasses import dataclass

from dico.config_loading import require
from training.config.optim import PRECISIONS
from training.config.rules import require_choice


@dataclass(frozen=True)
class InferenceConfig:
    """How a trained model is asked, and which of its masks are given."""

    short_side: int = 1024
    """An image is resized so that its shorter side has so many pixels,"""
    long_side: int = 2048
    """or fewer, so that its longer side has at most so many."""
    zooms: tuple[int, ...] = (1,)
    """A click or a box is answered from the whole image, 1, and from windows around it whose sides are so many times
    smaller; of all their masks, those are given that stand best for all. For networks of a low resolution; each number
    costs another look at the image. (Whole-image models are not asked so, and automatic masks have
    ``automatic.crop_layers``.)"""
    max_masks: int = 1000
    """At most so many masks an image, the best first."""
    min_score: float = 0.0
    """Masks that score less are left out. A score is the probability of "object" times the mean probability of the
    foreground within the mask."""
    max_iou: float = 1.0
    """Of two masks that overlap more than this, the better stays; 1 keeps both (published)."""
    min_area_px: int = 1
    """Smaller masks are left out, in pixels of the original image."""
    min_region_share: float = 0.02
    """Pieces of a mask that are smaller than this share of it are removed, and smaller holes are filled: specks and
    pinholes of coarse logits. 0 gives masks as they are (published). Of promptable models; a whole-image model's masks
    stay as they are."""
    precision: str = "float32"
    """As ``optim.precision``."""

    def __post_init__(self) -> None:
        for name in ("short_side", "max_masks", "min_area_px"):
            require(getattr(self, name) >= 1, f"inference.{name}", "at least 1", getattr(self, name))
        rule = f"at least inference.short_side={self.short_side}"
        require(self.long_side >= self.short_side, "inference.long_side", rule, self.long_side)
        rising = self.zooms[:1] == (1,) and all(a < b for a, b in zip(self.zooms, self.zooms[1:], strict=False))
        require(rising, "inference.zooms", "1, then rising whole numbers", self.zooms)
        for name in ("min_score", "max_iou", "min_region_share"):
            require(0 <= getattr(self, name) <= 1, f"inference.{name}", "within [0, 1]", getattr(self, name))
        require_choice("inference.precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured while a model is trained."""

    data: tuple[str, ...] = ()
    """Data sets, as for ``data.train``; each is measured. For ``whole_image`` they are in COCO's format."""
    every: int = 0
    """After so many steps, and at the end; 0 only at the end."""
    images: int = 0
    """Only so many images of each, evenly spaced; 0 takes all."""
    max_dets: tuple[int, ...] = (100, 1000)
    """Mask budgets: recall and precision of the best so many masks of each image. A promptable model has none: each
    ground truth is clicked once."""

    def __post_init__(self) -> None:
        for name in ("every", "images"):
            require(getattr(self, name) >= 0, f"evaluation.{name}", "at least 0", getattr(self, name))
        fits = len(self.max_dets) > 0 and all(budget >= 1 for budget in self.max_dets)
        require(fits, "evaluation.max_dets", "at least one positive number", self.max_dets)

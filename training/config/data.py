"""What is learnt from, and how it becomes samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dico.config_loading import require


@dataclass(frozen=True)
class DataConfig:
    """The images and masks to learn from, and how they become samples."""

    train: tuple[str, ...] = ()
    """What to learn from, each a store of ``dico label``, a COCO or LVIS json, an SA-1B folder, or a data set's YAML
    file, by its path or by its name in ``datasets``. Images of all are one list."""
    image_size: int = 1024
    """Side of the square that a sample is cropped to, in pixels."""
    scale: tuple[float, ...] = (0.1, 2.0)
    """An image is resized so that it fits the square, times a number drawn between these two; then it is cropped."""
    log_scale: bool = False
    """That number is drawn evenly on a scale of ratios, so that 1 to 2 is as likely as 2 to 4; false: of numbers
    (published). For a wide range, as of windows around a click (``inference.zooms``)."""
    flip: float = 0.5
    """Chance that a sample is mirrored, left to right."""
    colour: float = 0.0
    """Brightness, contrast and saturation are each changed by a factor drawn within 1 - colour and 1 + colour."""
    max_masks: int = 200
    """Of an image with more masks, so many are drawn (published: 200 in the paper, 500 in the code)."""
    best_masks: int = 0
    """They are drawn from so many of the image's best-scored masks, of equal scores the first; 0: from all."""
    min_area_px: int = 16
    """A mask that covers less of the sample, after resizing and cropping, is left out."""
    min_visible: float = 0.0
    """A mask of which the sample shows less than this share is left out; 0 keeps whatever is seen of a mask. As borders
    are rounded to pixels of the sample, near 1 even a mask that is wholly in view may be left out."""
    workers: int = 4
    """Processes that read images ahead; 0 reads in the training process. What is learnt does not depend on it."""
    max_skipped: int = 100
    """Training stops when more images than this could not be used; until then each is reported and passed over."""

    def __post_init__(self) -> None:
        require(self.image_size >= 32, "data.image_size", "at least 32", self.image_size)
        fits = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[-1] < math.inf
        require(fits, "data.scale", "two positive numbers, the smaller first", self.scale)
        require(0 <= self.flip <= 1, "data.flip", "within [0, 1]", self.flip)
        require(0 <= self.colour < 1, "data.colour", "within [0, 1)", self.colour)
        require(0 <= self.min_visible <= 1, "data.min_visible", "within [0, 1]", self.min_visible)
        for name in ("max_masks", "min_area_px"):
            require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        for name in ("best_masks", "workers", "max_skipped"):
            require(getattr(self, name) >= 0, f"data.{name}", "at least 0", getattr(self, name))

"""What a divider is: it finds the whole objects of an image, which conquer then takes apart."""

from __future__ import annotations

from typing import Protocol

from dico.features.base import PatchFeatures
from dico.image import Image
from dico.masks import MaskSet


class Divider(Protocol):
    """Finds coarse masks. Pure: the same image and features give the same masks."""

    def divide(self, image: Image, features: PatchFeatures) -> MaskSet:
        """The coarse masks of an image: level 0, theta 0, no parents, at the image's size.

        Args:
            image: uint8 (H, W, 3) RGB.
            features: Features of that image.
        """
        ...

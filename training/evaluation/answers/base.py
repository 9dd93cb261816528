"""What gives the images of a data set their masks, so that they can be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet


class Answers(Protocol):
    """Gives images their masks. Pickled when several processes ask."""

    def masks(self, image: AnnotatedImage, path: Path | None) -> MaskSet | None:
        """The masks of one image.

        Args:
            image: As its data set describes it; its annotations are not looked at.
            path: Where it lies; None when nobody knows.

        Returns:
            Its masks; None when nothing is known of this image.

        Raises:
            ValueError: when the image, or what is known of it, cannot be read; the message names it and the remedy.
        """
        ...

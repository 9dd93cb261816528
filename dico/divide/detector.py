"""Coarse masks from a trained model, such as one that was trained on an earlier round of labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dico.features.base import PatchFeatures
from dico.image import Image
from dico.masks import NO_PARENT, MaskSet


class DetectorDivider:
    """A divider that asks a model.

    Args:
        predictor: Any function from an image to scored masks of its size.
        min_score: Masks are kept when they score more (UnSAM: 0.3 in the paper, 0.1 in its code).

    Example:
        >>> two_halves = lambda image: MaskSet.from_arrays(np.eye(2)[:, None], score=[0.9, 0.2])
        >>> divider = DetectorDivider(two_halves, min_score=0.3)
        >>> image = np.zeros((1, 2, 3), dtype=np.uint8)
        >>> len(divider.divide(image, PatchFeatures(np.ones((1, 2, 1), dtype=np.float32), 1, (1, 2))))
        1
    """

    def __init__(self, predictor: Callable[[Image], MaskSet], *, min_score: float) -> None:
        self.predictor = predictor
        self.min_score = min_score

    def divide(self, image: Image, features: PatchFeatures) -> MaskSet:
        """The predictor's masks that score more than ``min_score``, as coarse masks; the features are not used.

        Raises:
            ValueError: when the masks are not of the image's size.
        """
        masks = self.predictor(image)
        if masks.size_hw != image.shape[:2]:
            raise ValueError(f"predictor must give masks of the image's size {image.shape[:2]}, got {masks.size_hw}")
        masks = masks[masks.score > self.min_score]
        return masks.with_fields(
            level=np.zeros(len(masks)),
            theta=np.zeros(len(masks)),
            parent=np.full(len(masks), NO_PARENT),
            source=("divide",) * len(masks),
        )

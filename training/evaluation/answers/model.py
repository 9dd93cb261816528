"""The masks that a model predicts of a data set's images."""

from __future__ import annotations

from pathlib import Path

from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from training.evaluation.base import Predict
from training.evaluation.pixels import annotated_pixels


class ModelAnswers:
    """The masks that a model predicts, at the moment of being asked.

    Args:
        predict: The model.
    """

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def masks(self, image: AnnotatedImage, path: Path | None) -> MaskSet | None:
        """The predicted masks."""
        if path is None:
            raise ValueError(f"image {image.image_id} has no file_name in the annotations, so it cannot be looked at")
        return self._predict(annotated_pixels(path, image.size_hw))

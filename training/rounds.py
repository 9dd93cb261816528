"""How a round of labels comes from the last: functions of an image and of what a store has of it.

They are small when pickled, so that several processes can share a run; :class:`dico.job.RevisionJob` takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dico.image import Image
from dico.masks import MaskSet
from dico.stopwatch import stage
from dico.store import LabelRow
from training.fusion import MAX_IOU, MAX_IOU_WITH_HUMAN, MIN_SCORE, fuse_with_human, require_share, self_training_round
from training.records import Source


@dataclass(frozen=True)
class SelfTraining:
    """What a model is sure of, and the labels of what it did not find.

    Attributes:
        predict: Gives an image its masks.
        min_score: As for :func:`training.fusion.self_training_round`.
        max_iou: Likewise.

    Raises:
        ValueError: when a limit is outside [0, 1].
    """

    predict: Callable[[Image], MaskSet]
    min_score: float = MIN_SCORE
    max_iou: float = MAX_IOU

    def __post_init__(self) -> None:
        require_share("min_score", self.min_score)
        require_share("max_iou", self.max_iou)

    def __call__(self, image: Image, row: LabelRow) -> MaskSet:
        """The masks of the next round; for an image that could not be labelled, those of the model alone."""
        predictions, labels = self.predict(image), _labels(image, row)
        with stage("fuse"):
            return self_training_round(predictions, labels, min_score=self.min_score, max_iou=self.max_iou)


@dataclass(frozen=True)
class WithHuman:
    """What people drew, and the labels of what they left out.

    Attributes:
        human: Images that people annotated.
        place_by_path: Where in it each labelled image is, by its path in the store; others have no human masks.
        max_iou: As for :func:`training.fusion.fuse_with_human`.

    Raises:
        ValueError: when it is outside [0, 1].
    """

    human: Source
    place_by_path: Mapping[str, int]
    max_iou: float = MAX_IOU_WITH_HUMAN

    def __post_init__(self) -> None:
        require_share("max_iou", self.max_iou)

    def __call__(self, image: Image, row: LabelRow) -> MaskSet:
        """The human masks, and the labels that overlap them little; all labels where nobody drew."""
        labels = _labels(image, row)
        if row.path not in self.place_by_path:
            return labels
        with stage("human"):
            drawn = self.human[self.place_by_path[row.path]].read_masks()
            drawn = drawn.with_fields(source=("human",) * len(drawn))
        with stage("fuse"):
            return fuse_with_human(drawn, labels, max_iou=self.max_iou)


def _labels(image: Image, row: LabelRow) -> MaskSet:
    return row.masks if row.masks is not None else MaskSet.empty((image.shape[0], image.shape[1]))

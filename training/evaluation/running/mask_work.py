"""Measuring all masks of one image: they are asked for and compared with ground truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dico.evaluate import best_masks, match_image
from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from training.evaluation.answers.base import Answers
from training.evaluation.running.image_result import ImageResult


@dataclass(frozen=True)
class MaskTask:
    """An image to be measured.

    Attributes:
        image: What its data set says of it.
        path: Where it lies; None when nobody knows.
    """

    image: AnnotatedImage
    path: Path | None

    @property
    def key(self) -> int:
        """What names its result among those of the data set."""
        return self.image.image_id

    def __str__(self) -> str:
        return self.image.file_name or f"image {self.image.image_id}"


@dataclass(frozen=True)
class MakeMaskWork:
    """Makes :class:`MaskWork` in each process that shares the work.

    Attributes:
        answers: Makes what gives images their masks.
        max_det: The largest mask budget.
    """

    answers: Callable[[], Answers]
    max_det: int

    def __call__(self) -> MaskWork:
        """The work of this process."""
        return MaskWork(self.answers(), self.max_det)


class MaskWork:
    """Measures one image after the other.

    Args:
        answers: Gives images their masks.
        max_det: The largest mask budget.
    """

    def __init__(self, answers: Answers, max_det: int) -> None:
        self._answers = answers
        self._max_det = max_det

    def __call__(self, task: MaskTask) -> ImageResult:
        """What became of an image. One that cannot be asked is one without masks, and its result says why.

        An image of which a ground truth cannot be read is left out.
        """
        started = time.perf_counter()
        image, nothing = task.image, MaskSet.empty(task.image.size_hw)
        masks, fault, unreadable = nothing, "", ""
        try:
            found = self._answers.masks(image, task.path)
            masks, fault = (nothing, "nothing is known of it") if found is None else (found, "")
            outcome = match_image(masks, image, max_det=self._max_det)
        except Exception as error:  # whatever it is, it is this image's fault and not the end of the others
            masks, fault, unreadable = nothing, _said(error), _fault_of_truths(image)
            if unreadable:
                image, fault = replace(image, annotations=()), f"{unreadable}: the image is left out"
            outcome = match_image(masks, image, max_det=self._max_det)
        return ImageResult(
            image_id=image.image_id,
            file_name=image.file_name,
            outcome=outcome,
            level_D=masks.level[best_masks(masks, self._max_det)],
            kind_G=tuple(str(one.get("level", "")) for one in image.annotations),
            is_crowd_G=image.is_crowd,
            fault=fault,
            seconds=time.perf_counter() - started,
            left_out=bool(unreadable),
        )


def _fault_of_truths(image: AnnotatedImage) -> str:
    """Why ground truths of an image cannot be read, as a sentence; empty when all can."""
    try:
        match_image(MaskSet.empty(image.size_hw), image, max_det=1)
    except Exception as error:  # of pycocotools, too
        return _said(error)
    return ""


def _said(error: Exception) -> str:
    return str(error) or repr(error)

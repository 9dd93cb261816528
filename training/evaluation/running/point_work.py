"""Measuring clicks on one image: each ground truth is clicked where it is deepest, and what is wrong is clicked again.

Axes: G ground truths of an image, T thresholds, N labels of an image, Q masks of an answer, K points.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dico.ground_truth import AnnotatedImage
from dico.image import Image
from dico.masks import MaskSet
from dico.rle import masks_at
from dico.store import MaskStore
from training.evaluation.answers.store import StoreAnswers
from training.evaluation.pixels import annotated_pixels
from training.evaluation.point_report import PointOutcome
from training.evaluation.running.point_result import PointResult
from training.evaluation.simulated_clicks import Click, first_click, next_click
from training.records import ImageRecord

LABELS_A_CLICK = 6
"""Of the labels under a click, so many answer it: as many as a promptable model has masks."""
Ask = Callable[[ImageRecord, MaskSet], PointOutcome | None]
"""Gives what clicks on the ground truths of an image find; None when nothing is known of the image."""


class Clickable(Protocol):
    """What can be clicked: :class:`training.prompt_predictor.PromptPredictor`, or any like it."""

    def set_image(self, image: Image) -> None:
        """Makes an image the one that is asked."""
        ...

    def masks(self, points: ArrayLike, labels: ArrayLike) -> Iterator[MaskSet]:
        """The masks of each prompt, with predicted IoUs as scores; points (P, K, 2) and labels (P, K), 1 or 0."""
        ...


class PointWork:
    """Measures clicks on one image after the other.

    Args:
        ask: Clicks on the ground truths of an image.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __call__(self, record: ImageRecord) -> PointResult:
        """What became of an image. In one that cannot be asked nothing is found, and its result says why."""
        started = time.perf_counter()
        try:
            truths = record.read_masks()
        except ValueError as error:
            return PointResult(record.key, None, f"{error}: the image is left out", time.perf_counter() - started)
        truths = truths[truths.area_px > 0]
        fault = ""
        try:
            outcome = self._ask(record, truths)
            fault = "" if outcome else f"nothing is known of {record.path}"
        except Exception as error:  # whatever it is, it is this image's fault and not the end of the others
            outcome, fault = None, str(error) or repr(error)
        if outcome is None:
            zeros_G = np.zeros(len(truths))
            outcome = PointOutcome(record.key, zeros_G, zeros_G, answered=False)
            fault += ": its ground truths count as not found"
        return PointResult(record.key, outcome, fault, time.perf_counter() - started)


@dataclass(frozen=True)
class PointTask:
    """An image to be measured: the place of its record among those of :class:`MakePointWork`, and its key."""

    place: int
    key: str

    def __str__(self) -> str:
        return f"image {self.key}"


@dataclass(frozen=True)
class MakePointWork:
    """Makes, in each process that shares the work, what measures the images of :class:`PointTask`.

    Attributes:
        records: Of all images.
        ask: Makes what clicks.
    """

    records: Sequence[ImageRecord]
    ask: Callable[[], Ask]

    def __call__(self) -> Callable[[PointTask], PointResult]:
        """The work of this process."""
        work = PointWork(self.ask())
        return lambda task: work(self.records[task.place])


class AskClickable:
    """Asks what can be clicked, and corrects what it answers.

    Args:
        clickable: The model.
        thresholds: The IoUs that clicks are to reach.
        most_clicks: So many clicks are made at most; 1 for no number of clicks.
    """

    def __init__(self, clickable: Clickable, *, thresholds: Sequence[float], most_clicks: int) -> None:
        self._clickable = clickable
        self._thresholds = tuple(thresholds)
        self._most_clicks = most_clicks

    def __call__(self, record: ImageRecord, truths: MaskSet) -> PointOutcome:
        """What clicks on the ground truths of an image find.

        Raises:
            ValueError: when the image cannot be read or has another size than its annotations.
        """
        self._clickable.set_image(annotated_pixels(record.path, truths.size_hw))
        clicks = [[first_click(truth_HW)] for truth_HW in truths.iter_decoded()]
        max_iou_G, oracle_iou_G = np.zeros(len(truths)), np.zeros(len(truths))
        clicks_TG = np.zeros((len(self._thresholds), len(truths)), dtype=np.int64)
        active = list(range(len(truths)))
        for number in range(1, self._most_clicks + 1):
            if not active:
                break
            points = [[(click.x, click.y) for click in clicks[g]] for g in active]
            labels = [[int(click.wanted) for click in clicks[g]] for g in active]
            unfinished = []
            for g, answer in zip(active, self._clickable.masks(points, labels), strict=True):
                iou_Q = answer.iou(truths[[g]])[:, 0]
                best = int(answer.score.argmax())
                if number == 1:
                    max_iou_G[g], oracle_iou_G[g] = iou_Q[best], iou_Q.max()
                reached_T = (clicks_TG[:, g] == 0) & (iou_Q[best] >= np.array(self._thresholds))
                clicks_TG[reached_T, g] = number
                if number < self._most_clicks and not clicks_TG[:, g].all():
                    correction = _correction(truths[[g]], answer[[best]], clicks[g])
                    if correction is not None:
                        clicks[g].append(correction)
                        unfinished.append(g)
            active = unfinished
        return PointOutcome(record.key, max_iou_G, oracle_iou_G, clicks_TG if self._most_clicks > 1 else None)


class AskLabels:
    """Labels answer one click: those under it stand for a model's masks. They do not answer corrections.

    Args:
        labels_of: Gives the labels of the image of a key; None when it has none.
    """

    def __init__(self, labels_of: Callable[[str], MaskSet | None]) -> None:
        self._labels_of = labels_of

    def __call__(self, record: ImageRecord, truths: MaskSet) -> PointOutcome | None:
        """What the labels under one click on each ground truth find.

        Raises:
            ValueError: when the labels have another size than the annotations.
        """
        labels = self._labels_of(record.key)
        if labels is None:
            return None
        if labels.size_hw != truths.size_hw:
            raise ValueError(
                f"{record.path}: its labels have {labels.size_hw} pixels (height, width), its annotations"
                f" {truths.size_hw}"
            )
        return of_labels(record.key, labels, truths)


class LabelsOfStore:
    """The labels of a store by the keys of a source, whose images are found in it by file name.

    Args:
        store: The labels.
        records: Of the source.

    Raises:
        ValueError: when the store has labels of none of them, or file names are ambiguous.
    """

    def __init__(self, store: MaskStore, records: Sequence[ImageRecord]) -> None:
        self._images = {
            record.key: AnnotatedImage(place, record.path.as_posix(), (1, 1), ())
            for place, record in enumerate(records)
        }
        self._answers = StoreAnswers(store, list(self._images.values()))

    def __call__(self, key: str) -> MaskSet | None:
        """The labels of the image of a key; None when it has none."""
        return self._answers.masks(self._images[key], None)


def of_labels(key: str, labels: MaskSet, truths: MaskSet) -> PointOutcome:
    """What the labels of one image give to one click on each ground truth.

    "Oracle" is the best of the six whose area is nearest, as a ratio, to that of the ground truth: so much is known
    of the truth, as whoever chooses a granularity knows. "Max" is the one of the highest score of all under the click.

    Args:
        key: Of the image.
        labels: Its masks.
        truths: Not empty, each.

    Raises:
        ValueError: when they are of another size.
    """
    clicks = [first_click(truth_HW) for truth_HW in truths.iter_decoded()]
    x_G, y_G = (np.array([getattr(click, axis) for click in clicks], dtype=np.int64) for axis in "xy")
    iou_NG = labels.iou(truths)
    under_NG = masks_at(labels.rles, labels.size_hw, x_G, y_G)
    max_iou_G, oracle_iou_G = np.zeros(len(truths)), np.zeros(len(truths))
    for g, area in enumerate(truths.area_px):
        under = np.flatnonzero(under_NG[:, g])
        if len(under):
            nearest = _nearest_areas(labels.area_px[under], float(area))
            max_iou_G[g] = iou_NG[under[labels.score[under].argmax()], g]
            oracle_iou_G[g] = iou_NG[under[nearest], g].max()
    return PointOutcome(key, max_iou_G, oracle_iou_G)


def _nearest_areas(area_N: NDArray[np.int64], area: float) -> NDArray[np.int64]:
    """Indices of the six areas nearest to one, as ratios."""
    return np.argsort(np.abs(np.log(area_N / area)), kind="stable")[:LABELS_A_CLICK]


def _correction(truth: MaskSet, given: MaskSet, before: Sequence[Click]) -> Click | None:
    (truth_HW,), (given_HW,) = truth.decode(), given.decode()
    return next_click(truth_HW, given_HW, before)

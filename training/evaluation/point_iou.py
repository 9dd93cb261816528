"""How well one click finds what was meant, and how many clicks it takes, on any data set.

Every ground truth is clicked where it is deepest. "Max" is the IoU of the mask that the model itself thinks best,
"Oracle" that of the best of its masks (Li et al. 2023, Semantic-SAM). For the number of clicks (NoC) further clicks
correct the mask that the model thinks best, so nobody who knows the truth helps but by clicking.

Axes: G ground truths of an image, T thresholds, N labels of an image, K points.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dico.ground_truth import AnnotatedImage, image_ids_of_paths
from dico.image import Image, load_image
from dico.masks import MaskSet
from dico.store import MaskStore
from dico.store.row_reader import RowReader
from training.evaluation.coco import evenly_spaced
from training.evaluation.point_report import PointOutcome, PointReport, report_of
from training.evaluation.simulated_clicks import Click, first_click, next_click
from training.records import ImageRecord, Source

log = logging.getLogger(__name__)

THRESHOLDS = (0.8, 0.85, 0.9)
"""IoUs that clicks are to reach."""
MOST_CLICKS = 20
"""So many clicks are made at most, as usual."""
LABELS_A_CLICK = 6
"""Of the labels under a click, so many answer it: as many as a promptable model has masks."""


class Clickable(Protocol):
    """What can be clicked: :class:`training.prompt_predictor.PromptPredictor`, or any like it."""

    def set_image(self, image: Image) -> None:
        """Makes an image the one that is asked."""
        ...

    def masks(self, points: ArrayLike, labels: ArrayLike) -> Iterator[MaskSet]:
        """The masks of each prompt, with predicted IoUs as scores; points (P, K, 2) and labels (P, K), 1 or 0."""
        ...


class PointEvaluator:
    """Clicks on every ground truth of a data set.

    Args:
        source: The images and their ground truths; empty ones do not count.
        images: Only so many images, evenly spaced; 0 takes all.
        most_clicks: So many clicks are made at most; 1 for no number of clicks.
        thresholds: The IoUs that clicks are to reach.
        name: What reports call it; None for the name of the source.

    Raises:
        FileNotFoundError: when an image is missing, with its name.
        ValueError: when a number is not positive.
    """

    def __init__(
        self,
        source: Source,
        *,
        images: int = 0,
        most_clicks: int = MOST_CLICKS,
        thresholds: Sequence[float] = THRESHOLDS,
        name: str | None = None,
    ) -> None:
        if images < 0:
            raise ValueError(f"images must be at least 0, got {images}")
        if most_clicks < 1:
            raise ValueError(f"most_clicks must be at least 1, got {most_clicks}")
        if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
            raise ValueError(f"thresholds must be within (0, 1], got {tuple(thresholds)}")
        self.name = name or source.name
        self.records = evenly_spaced(source, images)
        self._most_clicks = most_clicks
        self._thresholds = tuple(thresholds)
        missing = [record for record in self.records if not record.path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(self.records)} images of {self.name} are missing, such as {missing[0].path};"
                " name the folder that they are in"
            )

    def predictions(self, clickable: Clickable, *, rank: int = 0, world_size: int = 1) -> Iterator[PointOutcome]:
        """What clicks on each image give. An image that cannot be read is reported, and its truths are not found.

        Args:
            clickable: The model.
            rank: Which share of the images, from 0 to ``world_size - 1``.
            world_size: How many shares there are.

        Yields:
            What :meth:`report` takes. An image whose annotations cannot be read is reported and left out.

        Raises:
            ValueError: when there is no such share.
        """
        for record, truths in self._share(rank, world_size):
            try:
                pixels = load_image(record.path)
                if pixels.shape[:2] != truths.size_hw:
                    raise ValueError(
                        f"{record.path} has {pixels.shape[:2]} pixels (height, width), but {truths.size_hw} in the"
                        " annotations; are they of a resized or a rotated copy?"
                    )
            except ValueError as error:  # ImageError is one, too
                log.warning("%s: its ground truths count as not found", error)
                yield self._not_found(record, truths)
                continue
            yield self._clicked(record.key, clickable, pixels, truths)

    def predictions_of_labels(self, store: MaskStore, *, rank: int = 0, world_size: int = 1) -> Iterator[PointOutcome]:
        """What labels give to one click: those under it stand for a model's masks.

        "Oracle" is the best of the six whose area is nearest, as a ratio, to that of the ground truth: so much is known
        of the truth, as whoever chooses a granularity knows. "Max" is the one of the highest score of all under the
        click. There are no further clicks, as labels do not answer them.

        Args:
            store: The labels; images are found in it by file name.
            rank: As for :meth:`predictions`.
            world_size: Likewise.

        Yields:
            What :meth:`report` takes; for an image that has no labels, that nothing is found.

        Raises:
            ValueError: when there is no such share, no image is in the store, or file names are ambiguous.
        """
        images = [
            AnnotatedImage(place, record.path.as_posix(), (1, 1), ()) for place, record in enumerate(self.records)
        ]
        paths = [entry.path for entry in store.manifest.entries]
        index_of = {path: index for index, path in enumerate(paths)}
        index_of_key = {
            self.records[place].key: index_of[path] for path, place in image_ids_of_paths(images, paths).items()
        }
        rows = RowReader(store)
        labelled = set(rows.labelled().tolist())
        for record, truths in self._share(rank, world_size):
            index = index_of_key.get(record.key)
            masks = rows.row(index).masks if index in labelled and index is not None else None
            if masks is None:
                yield PointOutcome(record.key, np.zeros(len(truths)), np.zeros(len(truths)), answered=False)
            elif masks.size_hw != truths.size_hw:
                log.warning(
                    "%s: its labels have %s pixels (height, width), its annotations %s; its ground truths count as not"
                    " found",
                    record.key,
                    masks.size_hw,
                    truths.size_hw,
                )
                yield PointOutcome(record.key, np.zeros(len(truths)), np.zeros(len(truths)), answered=False)
            else:
                yield of_labels(record.key, masks, truths)

    def report(self, predictions: Iterable[PointOutcome]) -> PointReport:
        """The figures of all images.

        Args:
            predictions: What was given, of all shares, in any order.

        Raises:
            ValueError: for an unknown or a repeated image, or when there is none.
        """
        places = {record.key: place for place, record in enumerate(self.records)}
        by_place: dict[int, PointOutcome] = {}
        for outcome in predictions:
            if outcome.key not in places or places[outcome.key] in by_place:
                raise ValueError(f"each image of {self.name} must be clicked once, got {outcome.key} otherwise")
            by_place[places[outcome.key]] = outcome
        if not by_place:
            raise ValueError(f"{self.name} must have an image whose annotations can be read")
        return report_of(
            [by_place[place] for place in sorted(by_place)],
            name=self.name,
            thresholds=self._thresholds,
            most_clicks=self._most_clicks,
        )

    def _share(self, rank: int, world_size: int) -> Iterator[tuple[ImageRecord, MaskSet]]:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be within 0 and world_size - 1 = {world_size - 1}, got {rank}")
        for record in self.records[rank::world_size]:
            try:
                truths = record.read_masks()
            except ValueError as error:
                log.warning("%s: the image is left out", error)
                continue
            yield record, truths[truths.area_px > 0]

    def _not_found(self, record: ImageRecord, truths: MaskSet) -> PointOutcome:
        zeros_G = np.zeros(len(truths))
        clicks_TG = np.zeros((len(self._thresholds), len(truths)), dtype=np.int64) if self._most_clicks > 1 else None
        return PointOutcome(record.key, zeros_G, zeros_G, clicks_TG, answered=False)

    def _clicked(self, key: str, clickable: Clickable, pixels: Image, truths: MaskSet) -> PointOutcome:
        clickable.set_image(pixels)
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
            for g, answer in zip(active, clickable.masks(points, labels), strict=True):
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
        return PointOutcome(key, max_iou_G, oracle_iou_G, clicks_TG if self._most_clicks > 1 else None)


def of_labels(key: str, labels: MaskSet, truths: MaskSet) -> PointOutcome:
    """What the labels of one image give to one click on each ground truth.

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
    under_NG = np.array([label_HW[y_G, x_G] for label_HW in labels.iter_decoded()]).reshape(iou_NG.shape).astype(bool)
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

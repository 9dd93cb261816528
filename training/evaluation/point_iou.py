"""How well one click finds what was meant, and how many clicks it takes, on any data set.

Every ground truth is clicked where it is deepest. "Max" is the IoU of the mask that the model itself thinks best,
"Oracle" that of the best of its masks (Li et al. 2023, Semantic-SAM). For the number of clicks (NoC) further clicks
correct the mask that the model thinks best, so nobody who knows the truth helps but by clicking.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from dico.store import MaskStore
from training.evaluation.coco import evenly_spaced
from training.evaluation.point_report import PointOutcome, PointReport, report_of
from training.evaluation.running.point_result import PointResult
from training.evaluation.running.point_work import AskClickable, AskLabels, Clickable, LabelsOfStore, PointWork
from training.records import ImageRecord, Source

log = logging.getLogger(__name__)

THRESHOLDS = (0.8, 0.85, 0.9)
"""IoUs that clicks are to reach."""
MOST_CLICKS = 20
"""So many clicks are made at most, as usual."""


class PointEvaluator:
    """Clicks on every ground truth of a data set.

    Args:
        source: The images and their ground truths; empty ones do not count.
        images: Only so many images, evenly spaced; 0 takes all.
        most_clicks: So many clicks are made at most; 1 for no number of clicks.
        thresholds: The IoUs that clicks are to reach.
        name: What reports call it; None for the name of the source.

    Attributes:
        name: What reports call it.
        records: The images.
        most_clicks: As given; likewise ``thresholds``.

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
        self.most_clicks = most_clicks
        self.thresholds = tuple(thresholds)
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
        ask = AskClickable(clickable, thresholds=self.thresholds, most_clicks=self.most_clicks)
        yield from self._outcomes(PointWork(ask), rank, world_size)

    def predictions_of_labels(self, store: MaskStore, *, rank: int = 0, world_size: int = 1) -> Iterator[PointOutcome]:
        """What labels give to one click: see :class:`training.evaluation.running.point_work.AskLabels`.

        Args:
            store: The labels; images are found in it by file name.
            rank: As for :meth:`predictions`.
            world_size: Likewise.

        Yields:
            What :meth:`report` takes; for an image that has no labels, that nothing is found.

        Raises:
            ValueError: when there is no such share, the store has labels of no image, or file names are ambiguous.
        """
        yield from self._outcomes(PointWork(AskLabels(LabelsOfStore(store, self.records))), rank, world_size)

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
            thresholds=self.thresholds,
            most_clicks=self.most_clicks,
        )

    def _outcomes(
        self, work: Callable[[ImageRecord], PointResult], rank: int, world_size: int
    ) -> Iterator[PointOutcome]:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be within 0 and world_size - 1 = {world_size - 1}, got {rank}")
        for record in self.records[rank::world_size]:
            result = work(record)
            if result.fault:
                log.warning("%s", result.fault)
            if result.outcome is not None:
                yield result.outcome

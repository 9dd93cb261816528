"""Figures of labels on dev sets: evaluation, differences between two methods, tables for a document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.dev_sets import DevSet
from dico.evaluate import CONFIDENCE, evaluate_masks, match_image
from dico.evaluation_report import BudgetFigures, EvalReport
from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from dico.precision import PooledOutcomes, bootstrap_intervals, pool


@dataclass(frozen=True)
class Difference:
    """How much more recall one method has than another, in points, with the interval of paired resamples."""

    points: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        if math.isnan(self.interval[0]):
            return f"{self.points:+.1f}"
        return f"{self.points:+.1f} ({self.interval[0]:+.1f} to {self.interval[1]:+.1f})"


def evaluate(dev_set: DevSet, masks: Sequence[MaskSet], resamples: int) -> EvalReport:
    """The figures of the masks of a set's photographs, in their order."""
    return evaluate_masks(
        zip((image.image_id for image in dev_set.images), masks, strict=True), dev_set.images, resamples=resamples
    )


def recall_difference(
    images: Sequence[AnnotatedImage],
    masks: Sequence[MaskSet],
    others: Sequence[MaskSet],
    *,
    max_masks: int,
    resamples: int,
) -> Difference:
    """AR of some masks less that of others, on the same images.

    Args:
        images: Ground truth of I images.
        masks: Masks of these.
        others: Likewise.
        max_masks: The budget.
        resamples: Of the images, for the interval, in which both methods see the same draws; 0 for none.
    """

    def pooled(found: Sequence[MaskSet]) -> PooledOutcomes:
        outcomes = [match_image(one, image, max_det=max_masks) for one, image in zip(found, images, strict=True)]
        return pool(outcomes, max_masks)

    first, second = pooled(masks), pooled(others)

    def difference(weight_I: NDArray[np.int64]) -> NDArray[np.float64]:
        return 100 * np.array([first.recall(weight_I).mean() - second.recall(weight_I).mean()])

    interval = (math.nan, math.nan)
    if resamples:
        ends_12 = bootstrap_intervals(difference, len(images), resamples=resamples, seed=0, confidence=CONFIDENCE)
        interval = (float(ends_12[0, 0]), float(ends_12[0, 1]))
    return Difference(float(difference(np.ones(len(images), dtype=np.int64))[0]), interval)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures.

    Example:
        >>> print(markdown_table(["labels", "AR"], [["ours", "22.1"]]))
        | labels | AR |
        |---|---:|
        | ours | 22.1 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|---" + "|---:" * (len(header) - 1) + "|", *text[1:]])


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """One figure in percent, and its 95 % interval when there is one.

    Example:
        >>> with_interval(22.06, (21.0, 23.24)), with_interval(float("nan"), (0, 0))
        ('22.1 (21.0-23.2)', '-')
    """
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if math.isnan(interval[0]) else f"{value:.1f} ({interval[0]:.1f}-{interval[1]:.1f})"


def quality_cells(report: EvalReport, *, most: int, budgets: Sequence[int], main: int) -> list[str]:
    """The cells of one method: masks an image, AR at each budget, AR by size and AP at the main one.

    Args:
        report: The figures.
        most: Masks an image that the method keeps; AR at a larger budget would say nothing new.
        budgets: The columns.
        main: The budget of what is given once.
    """
    recalls = [with_interval(report.at(n).ar, report.at(n).ar_interval) if n <= most else "-" for n in budgets]
    figures = report.at(main)
    sizes = " / ".join(with_interval(value, (math.nan, math.nan)) for value in by_size(figures))
    return [f"{report.masks_per_image:.0f}", *recalls, sizes, with_interval(figures.ap, figures.ap_interval)]


def by_size(figures: BudgetFigures) -> tuple[float, float, float]:
    """AR of small, medium and large ground truths."""
    return figures.ar_small, figures.ar_medium, figures.ar_large

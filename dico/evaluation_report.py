"""The figures of an evaluation, as a table and as plain data."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

FEW_IMAGES = 10
"""Resampled fewer do not tell how figures would differ on other images."""


@dataclass(frozen=True)
class BudgetFigures:
    """The figures when the best ``max_masks`` masks of each image count. In percent; NaN without ground truth.

    Attributes:
        max_masks: The budget.
        masks_per_image: Masks an image that were counted, on average.
        ar: Recall, averaged over IoU .50:.95.
        ar_interval: 95 % interval of ``ar`` over resampled images.
        ar_small: Recall of ground truths up to 32 x 32 pixels; likewise ``ar_medium``, ``ar_large`` (from 96 x 96).
        ap: Average precision, averaged over IoU .50:.95.
        ap_interval: 95 % interval of ``ap``.
        ap50: Average precision at IoU .50.
        ap_small: Average precision of small masks; likewise ``ap_medium``, ``ap_large``.
    """

    max_masks: int
    masks_per_image: float
    ar: float
    ar_interval: tuple[float, float]
    ar_small: float
    ar_medium: float
    ar_large: float
    ap: float
    ap_interval: tuple[float, float]
    ap50: float
    ap_small: float
    ap_medium: float
    ap_large: float


@dataclass(frozen=True)
class EvalReport:
    """What an evaluation found.

    Attributes:
        n_images: Images of the annotation file, all of which count.
        n_unlabelled: Those of them that have no labels, or failed; they count as images without masks.
        n_truths: Ground truths, without crowds.
        n_small: Those up to 32 x 32 pixels; likewise ``n_medium``, ``n_large``. One on the border is in both.
        masks_per_image: Masks an image before any budget, on average.
        budgets: The figures of each budget, rising.
    """

    n_images: int
    n_unlabelled: int
    n_truths: int
    n_small: int
    n_medium: int
    n_large: int
    masks_per_image: float
    budgets: tuple[BudgetFigures, ...]

    def at(self, max_masks: int) -> BudgetFigures:
        """The figures of one budget.

        Raises:
            KeyError: when it was not evaluated, with those that were.
        """
        for figures in self.budgets:
            if figures.max_masks == max_masks:
                return figures
        raise KeyError(f"max_masks must be one of {[figures.max_masks for figures in self.budgets]}, got {max_masks}")

    def table(self) -> str:
        """The report as text: one line a budget, in percent."""
        recalls = ("AR", "95 %", "small", "medium", "large")
        precisions = ("AP", "95 %", "AP50", "small", "medium", "large")
        rows = [("budget", "masks", *recalls, *precisions), *(_cells(figures) for figures in self.budgets)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        unlabelled = f", {self.n_unlabelled} of them without labels" if self.n_unlabelled else ""
        title = (
            f"{self.n_images:,} images{unlabelled}; {self.masks_per_image:.1f} masks an image; "
            f"{self.n_truths:,} ground truths "
            f"({self.n_small:,} small, {self.n_medium:,} medium, {self.n_large:,} large)"
        )
        note = "Class-agnostic masks, IoU .50:.95, percent; 95 % intervals from resampled images."
        has_intervals = any(not math.isnan(figures.ar_interval[0]) for figures in self.budgets)
        return "\n".join([title, note, *(caution(self.n_images) if has_intervals else ()), "", *lines])

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data; what is not known (NaN) is None."""
        plain: dict[str, Any] = without_nan(dataclasses.asdict(self))
        return plain


def caution(n_images: int) -> tuple[str, ...]:
    """What has to be said of intervals over so few images, as a sentence; nothing over many.

    Example:
        >>> caution(1), caution(10)
        (('Intervals over fewer than 10 images say nothing of how precise figures are.',), ())
    """
    told = f"Intervals over fewer than {FEW_IMAGES} images say nothing of how precise figures are."
    return (told,) if n_images < FEW_IMAGES else ()


def _cells(figures: BudgetFigures) -> tuple[str, ...]:
    def number(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.1f}"

    def interval(ends: tuple[float, float]) -> str:
        return "-" if math.isnan(ends[0]) else f"{ends[0]:.1f}-{ends[1]:.1f}"

    recalls = (figures.ar_small, figures.ar_medium, figures.ar_large)
    precisions = (figures.ap50, figures.ap_small, figures.ap_medium, figures.ap_large)
    return (
        f"{figures.max_masks:,}",
        number(figures.masks_per_image),
        number(figures.ar),
        interval(figures.ar_interval),
        *map(number, recalls),
        number(figures.ap),
        interval(figures.ap_interval),
        *map(number, precisions),
    )


def without_nan(value: Any) -> Any:
    """Nested data with None for every NaN, and lists for tuples: what JSON has.

    Example:
        >>> without_nan({"ar": float("nan"), "ends": (1.0, 2.0)})
        {'ar': None, 'ends': [1.0, 2.0]}
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

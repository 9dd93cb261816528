"""What clicks gave: one image's outcome, and the figures of all.

Axes: I images, G ground truths of an image, T thresholds, S statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dico.evaluate import CONFIDENCE
from dico.evaluation_report import caution, without_nan
from dico.precision import bootstrap_intervals

MAX_IOU, ORACLE_IOU = "Max IoU", "Oracle IoU"


@dataclass(frozen=True, eq=False)
class PointOutcome:
    """What clicks on one image gave.

    Attributes:
        key: Of the image.
        max_iou_G: float64: the IoU of each ground truth with the mask of highest predicted IoU, after one click.
        oracle_iou_G: float64: with the best of the masks, after one click.
        clicks_TG: int64: how many clicks it took until the mask of highest predicted IoU reached each threshold; 0
            where it did not. None when only one click was made, or none could be.
        answered: Whether the image could be asked; if not, all figures are 0.
    """

    key: str
    max_iou_G: NDArray[np.float64]
    oracle_iou_G: NDArray[np.float64]
    clicks_TG: NDArray[np.int64] | None = None
    answered: bool = True


@dataclass(frozen=True)
class Figure:
    """A mean over all ground truths.

    Attributes:
        mean: NaN without ground truth.
        interval: Of 95 %, over resampled images.
    """

    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Clicks:
    """How many clicks it takes.

    Attributes:
        threshold: The IoU that is wanted.
        number: Of clicks; where the threshold is never reached, all that were allowed count.
        reached: The share of ground truths that reach it, in percent.
    """

    threshold: float
    number: Figure
    reached: Figure


@dataclass(frozen=True)
class PointReport:
    """How well clicks find ground truth.

    Attributes:
        name: What the data set is called.
        n_images: Images with ground truth, or without.
        n_unanswered: Those of them that could not be asked; their ground truths count as not found.
        n_truths: Ground truths.
        max_iou: Of the mask of highest predicted IoU, in percent.
        oracle_iou: Of the best mask, in percent.
        most_clicks: How many were allowed.
        clicks: For each threshold; empty when only one click was made.
    """

    name: str
    n_images: int
    n_unanswered: int
    n_truths: int
    max_iou: Figure
    oracle_iou: Figure
    most_clicks: int
    clicks: tuple[Clicks, ...]

    def scalars(self) -> dict[str, float]:
        """``"coco/max_iou"``, ``"coco/oracle_iou"`` and such as ``"coco/NoC@80"``. What is not known is left out."""
        shown = {"max_iou": self.max_iou, "oracle_iou": self.oracle_iou}
        shown |= {_noc(of_threshold): of_threshold.number for of_threshold in self.clicks}
        return {f"{self.name}/{what}": figure.mean for what, figure in shown.items() if not math.isnan(figure.mean)}

    def table(self) -> str:
        """The figures as text."""
        unanswered = f", {self.n_unanswered} of them not answered" if self.n_unanswered else ""
        lines = [
            f"{self.name}: {self.n_images:,} images{unanswered}; {self.n_truths:,} ground truths",
            "One click in the middle of each ground truth, mean IoU in percent; 95 % intervals from resampled images.",
            *caution(self.n_images),
            "",
            f"{MAX_IOU:>12}  {_text(self.max_iou)}",
            f"{ORACLE_IOU:>12}  {_text(self.oracle_iou)}",
        ]
        if self.clicks:
            lines += ["", f"Clicks until the IoU is reached, at most {self.most_clicks}, and the share that reach it:"]
            lines += [f"{_noc(one):>12}  {_text(one.number)}  {_text(one.reached)} %" for one in self.clicks]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not known is None."""
        plain: dict[str, Any] = without_nan({"task": "point", **asdict(self)})
        return plain


def report_of(
    outcomes: Sequence[PointOutcome],
    *,
    name: str,
    thresholds: Sequence[float],
    most_clicks: int,
    resamples: int = 1000,
    seed: int = 0,
) -> PointReport:
    """The figures of all images.

    Args:
        outcomes: At least one, in an order that does not depend on who made them.
        name: Of the data set.
        thresholds: Those of the clicks.
        most_clicks: How many were allowed.
        resamples: Of the images, for the intervals.
        seed: Of the resampling.
    """
    counts_I = np.array([len(outcome.max_iou_G) for outcome in outcomes])
    columns = [[100 * outcome.max_iou_G.sum(), 100 * outcome.oracle_iou_G.sum()] for outcome in outcomes]
    answered = [outcome for outcome in outcomes if outcome.answered]
    counted = bool(answered) and all(outcome.clicks_TG is not None for outcome in answered)
    for column, outcome in zip(columns, outcomes, strict=True):
        never_TG = np.zeros((len(thresholds), len(outcome.max_iou_G)), dtype=np.int64)
        for clicks_G in (never_TG if outcome.clicks_TG is None else outcome.clicks_TG) if counted else ():
            column += [np.where(clicks_G > 0, clicks_G, most_clicks).sum(), 100 * (clicks_G > 0).sum()]
    sums_IS = np.array(columns, dtype=np.float64)

    def means(weight_I: NDArray[np.int64]) -> NDArray[np.float64]:
        truths = weight_I @ counts_I
        found_S: NDArray[np.float64] = weight_I @ sums_IS / truths if truths else np.full(sums_IS.shape[1], np.nan)
        return found_S

    mean_S = means(np.ones(len(outcomes), dtype=np.int64))
    ends_S2 = bootstrap_intervals(means, len(outcomes), resamples=resamples, seed=seed, confidence=CONFIDENCE)
    figures = [
        Figure(float(mean), (float(low), float(high))) for mean, (low, high) in zip(mean_S, ends_S2, strict=True)
    ]
    of_clicks = zip(thresholds, figures[2::2], figures[3::2], strict=True) if counted else ()
    return PointReport(
        name=name,
        n_images=len(outcomes),
        n_unanswered=sum(not outcome.answered for outcome in outcomes),
        n_truths=int(counts_I.sum()),
        max_iou=figures[0],
        oracle_iou=figures[1],
        most_clicks=most_clicks if counted else 1,
        clicks=tuple(Clicks(*of_threshold) for of_threshold in of_clicks),
    )


def _noc(clicks: Clicks) -> str:
    return f"NoC@{100 * clicks.threshold:g}"


def _text(figure: Figure) -> str:
    if math.isnan(figure.mean):
        return "-"
    return f"{figure.mean:5.1f} ({figure.interval[0]:.1f}-{figure.interval[1]:.1f})"

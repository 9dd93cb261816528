"""The figures of one data set from what became of its images: by budget, by level of mask, by kind of ground truth.

Axes: I images; D counted masks of an image, best first; G ground truths of an image; T IoU thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dico.evaluate import CONFIDENCE, report_of
from dico.matching import IOU_THRESHOLDS
from dico.precision import bootstrap_intervals
from training.evaluation.running.image_result import ImageResult
from training.evaluation.suite_report import ImageSummary, KindFigure, LevelFigure, SetReport

SHOWN_IMAGES = 8
"""So many of the best and of the worst images are named."""


@dataclass(frozen=True)
class SetFacts:
    """What has to be said of a data set beside its figures.

    Attributes:
        name: What it is called in commands and files.
        title: What it is called in tables.
        all_images: Images of the whole data set.
        notes: What has to be known to read the figures, a sentence each.
    """

    name: str
    title: str
    all_images: int
    notes: tuple[str, ...]


def set_report(
    results: Sequence[ImageResult],
    facts: SetFacts,
    *,
    max_dets: Sequence[int],
    images_root: Path | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> SetReport:
    """The report of one data set.

    Args:
        results: At least one that is not left out, in any order.
        facts: What is said beside the figures.
        max_dets: Mask budgets, the largest that of the results.
        images_root: The folder that file names are relative to; None when nobody knows.
        resamples: Bootstrap resamples for the intervals.
        seed: Seed of the bootstrap.
    """
    in_order = sorted((one for one in results if not one.left_out), key=lambda result: result.image_id)
    unanswered = sum(not result.answered for result in in_order)
    figures = report_of(
        [result.outcome for result in in_order],
        n_unlabelled=unanswered,
        max_dets=max_dets,
        resamples=resamples,
        seed=seed,
    )
    summaries = [_summary(result, images_root) for result in in_order if result.answered and result.n_truths]
    # Of equal ones those with the most ground truths, as they show the most.
    worst = sorted(summaries, key=lambda image: (image.ar, -image.n_truths, image.image_id))
    best = sorted(summaries, key=lambda image: (-image.ar, -image.n_truths, image.image_id))
    return SetReport(
        name=facts.name,
        title=facts.title,
        figures=figures,
        by_level=_by_level(in_order),
        by_kind=_by_kind(in_order, resamples=resamples, seed=seed),
        worst=tuple(worst[:SHOWN_IMAGES]),
        best=tuple(best[:SHOWN_IMAGES]),
        all_images=facts.all_images,
        unanswered=unanswered,
        left_out=len(results) - len(in_order),
        notes=facts.notes,
        seconds=sum(result.seconds for result in results),
    )


def _summary(result: ImageResult, images_root: Path | None) -> ImageSummary:
    path = images_root / result.file_name if images_root is not None and result.file_name else None
    return ImageSummary(result.image_id, result.file_name, path, result.ar, result.n_truths, result.outcome.n_masks)


def _by_level(results: Sequence[ImageResult]) -> tuple[LevelFigure, ...]:
    levels = sorted({int(level) for result in results for level in np.unique(result.level_D)})
    if len(levels) < 2:
        return ()
    pairs = len(IOU_THRESHOLDS) * sum(result.n_truths for result in results)
    found = dict.fromkeys(levels, 0)
    masks = dict.fromkeys(levels, 0)
    for result in results:
        found_levels = result.level_D[result.outcome.finder_TG[result.found_TG]]
        for counts, level_N in ((found, found_levels), (masks, result.level_D)):
            for level, count in zip(*np.unique(level_N, return_counts=True), strict=True):
                counts[int(level)] += int(count)
    return tuple(
        LevelFigure(level, masks[level] / len(results), 100 * found[level] / pairs if pairs else float("nan"))
        for level in levels
    )


def _by_kind(results: Sequence[ImageResult], *, resamples: int, seed: int) -> tuple[KindFigure, ...]:
    kinds = sorted({kind for result in results for kind in result.kind_G})
    if kinds in ([], [""]):
        return ()
    return tuple(_of_kind(kind, results, resamples=resamples, seed=seed) for kind in kinds)


def _of_kind(kind: str, results: Sequence[ImageResult], *, resamples: int, seed: int) -> KindFigure:
    chosen = [np.array(result.kind_G) == kind for result in results]
    chosen = [of_kind_G & ~result.is_crowd_G for of_kind_G, result in zip(chosen, results, strict=True)]
    truths_I = np.array([of_kind_G.sum() for of_kind_G in chosen], dtype=np.int64)
    found_I = np.array([r.found_TG[:, of_kind_G].sum() for r, of_kind_G in zip(results, chosen, strict=True)])

    def recall(weight_I: NDArray[np.int64]) -> NDArray[np.float64]:
        truths = int(weight_I @ truths_I)
        found = 100 * (weight_I @ found_I) / (len(IOU_THRESHOLDS) * truths) if truths else float("nan")
        return np.array([found], dtype=np.float64)

    (ar,) = recall(np.ones(len(results), dtype=np.int64))
    low, high = float("nan"), float("nan")
    if resamples:
        ends_S2 = bootstrap_intervals(recall, len(results), resamples=resamples, seed=seed, confidence=CONFIDENCE)
        low, high = ends_S2[0].tolist()
    return KindFigure(kind, int(truths_I.sum()), float(ar), (low, high))

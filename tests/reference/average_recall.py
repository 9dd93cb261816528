"""Average recall written from its definition, one pair of masks at a time. Dense masks, plain loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.reference.greedy_matching import greedy_matching


@dataclass(frozen=True)
class Picture:
    """One image: what was found, and what there is. ``truth_areas`` are as annotated."""

    masks: list[NDArray[np.bool_]]
    scores: list[float]
    truths: list[NDArray[np.bool_]]
    truth_areas: list[float]
    crowds: list[bool]


def overlap(mask_HW: NDArray[np.bool_], truth_HW: NDArray[np.bool_], crowd: bool) -> float:
    """Intersection over union; of a crowd the share of the mask that lies inside it."""
    shared = np.logical_and(mask_HW, truth_HW).sum()
    whole = mask_HW.sum() if crowd else np.logical_or(mask_HW, truth_HW).sum()
    return float(shared / whole) if whole else 0.0


def average_recall(pictures: list[Picture], max_det: int, limits_px: tuple[float, float] = (0, 1e10)) -> float:
    """Recall over all images, in percent, averaged over IoU .50:.95."""
    thresholds = np.linspace(0.5, 0.95, 10).tolist()
    found, total = [0] * len(thresholds), 0
    for picture in pictures:
        best = sorted(range(len(picture.masks)), key=lambda n: -picture.scores[n])[:max_det]
        truths = range(len(picture.truths))
        overlaps = [[overlap(picture.masks[n], picture.truths[g], picture.crowds[g]) for g in truths] for n in best]
        areas = [float(picture.masks[n].sum()) for n in best]
        counted = [
            g for g in truths if limits_px[0] <= picture.truth_areas[g] <= limits_px[1] and not picture.crowds[g]
        ]
        total += len(counted)
        for t, threshold in enumerate(thresholds):
            taken, _ = greedy_matching(overlaps, areas, picture.truth_areas, picture.crowds, threshold, limits_px)
            found[t] += sum(g in taken for g in counted)
    return 100 * float(np.mean([n / total for n in found]))

"""Average recall written from its definition, one pair of masks at a time. Dense masks, no crowds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou(one_HW: NDArray[np.bool_], other_HW: NDArray[np.bool_]) -> float:
    union = np.logical_or(one_HW, other_HW).sum()
    return float(np.logical_and(one_HW, other_HW).sum() / union) if union else 0.0


def found_in_image(
    masks: list[NDArray[np.bool_]],
    scores: list[float],
    truths: list[NDArray[np.bool_]],
    threshold: float,
    low_px: float,
    high_px: float,
) -> int:
    """How many truths of an area range are found: each mask in turn takes the free truth that it overlaps most."""
    counted = [bool(low_px <= truth.sum() <= high_px) for truth in truths]
    free = [True] * len(truths)
    found = 0
    for n in sorted(range(len(masks)), key=lambda n: -scores[n]):
        for wanted in (True, False):  # a truth of another size is taken only when no counted one fits
            fits = [
                (iou(masks[n], truths[g]), g)
                for g in range(len(truths))
                if free[g] and counted[g] is wanted and iou(masks[n], truths[g]) >= threshold
            ]
            if fits:
                free[max(fits)[1]] = False
                found += wanted
                break
    return found


def average_recall(
    images: list[tuple[list[NDArray[np.bool_]], list[float], list[NDArray[np.bool_]]]],
    max_det: int,
    low_px: float = 0,
    high_px: float = 1e10,
) -> float:
    """Recall over all images, in percent, averaged over IoU .50:.95."""
    recalls = []
    for threshold in np.linspace(0.5, 0.95, 10):
        found, total = 0, 0
        for masks, scores, truths in images:
            best = sorted(range(len(masks)), key=lambda n: -scores[n])[:max_det]
            chosen, chosen_scores = [masks[n] for n in best], [scores[n] for n in best]
            found += found_in_image(chosen, chosen_scores, truths, threshold, low_px, high_px)
            total += sum(low_px <= truth.sum() <= high_px for truth in truths)
        recalls.append(found / total)
    return 100 * float(np.mean(recalls))

"""Loop versions of training.fusion on dense masks: slow, obvious."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]


def iou(one_HW: NDArray[np.bool_], other_HW: NDArray[np.bool_]) -> float:
    """Intersection over union; two empty masks do not overlap."""
    union = int((one_HW | other_HW).sum())
    return int((one_HW & other_HW).sum()) / union if union else 0.0


def self_training_round(
    predictions_NHW: Masks, scores: list[float], pseudo_NHW: Masks, *, min_score: float, max_iou: float
) -> tuple[list[int], list[int]]:
    """Indices of the predictions and of the pseudo-masks that stay, ascending."""
    sure = [i for i, score in enumerate(scores) if score > min_score]
    return sure, left_over([predictions_NHW[i] for i in sure], pseudo_NHW, max_iou)


def left_over(trusted: list[NDArray[np.bool_]], pseudo_NHW: Masks, max_iou: float) -> list[int]:
    """Indices of the pseudo-masks that overlap no trusted mask by more."""
    kept = []
    for j, pseudo_HW in enumerate(pseudo_NHW):
        if all(iou(pseudo_HW, trusted_HW) <= max_iou for trusted_HW in trusted):
            kept.append(j)
    return kept

"""Loop versions of dico.selection on dense masks: slow, obvious."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]


def suppress(masks_NHW: Masks, scores: list[float], max_iou: float) -> list[int]:
    """Indices that stay, ascending."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
        for j in kept:
            union = int((masks_NHW[i] | masks_NHW[j]).sum())
            both = int((masks_NHW[i] & masks_NHW[j]).sum())
            if union and both / union > max_iou:
                break
        else:
            kept.append(i)
    return sorted(kept)


def link_parents(masks_NHW: Masks, min_inside: float) -> list[int]:
    """The parent of each mask, or -1."""
    areas = [int(mask.sum()) for mask in masks_NHW]
    parents = []
    for i, mask in enumerate(masks_NHW):
        best = -1
        for j, other in enumerate(masks_NHW):
            if not 0 < areas[i] < areas[j] or int((mask & other).sum()) / areas[i] < min_inside:
                continue
            if best < 0 or areas[j] < areas[best]:
                best = j
        parents.append(best)
    return parents


def coverage(masks_NHW: Masks) -> float:
    """Share of pixels in at least one mask."""
    covered = np.zeros(masks_NHW.shape[1:], dtype=bool)
    for mask in masks_NHW:
        covered |= mask
    return float(covered.mean())

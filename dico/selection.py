"""Which masks of an image are kept, in what order, and who is whose parent: pure functions on MaskSet.

Axes: N masks of the set, K masks compared with one of them, R and S runs of two masks.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle

from dico.config import SelectConfig
from dico.masks import NO_PARENT, MaskSet
from dico.rle import run_ends


def select(masks: MaskSet, config: SelectConfig) -> MaskSet:
    """The masks that an image gets: large enough, distinct, the best of them, in order, and linked.

    Args:
        masks: Every mask that the earlier stages made.
        config: Limits.

    Returns:
        At most ``config.max_masks`` masks by falling score, with parents found anew.
    """
    masks = drop_small(masks, config.min_area_px)
    masks = suppress(masks, config.max_iou)
    masks = top(masks, config.max_masks)
    return link_parents(masks, config.min_inside_parent)


def drop_small(masks: MaskSet, min_area_px: int) -> MaskSet:
    """The masks of at least ``min_area_px`` pixels, in their order."""
    return masks[masks.area_px >= min_area_px]


def drop_large(masks: MaskSet, max_area_frac: float) -> MaskSet:
    """The masks that cover at most the share ``max_area_frac`` of the image, in their order."""
    return masks[masks.area_px <= max_area_frac * masks.size_hw[0] * masks.size_hw[1]]


def top(masks: MaskSet, n: int) -> MaskSet:
    """The ``n`` masks of highest score by falling score; equals keep their order.

    Raises:
        ValueError: when ``n`` is negative.

    Example:
        >>> masks = MaskSet.from_arrays(np.ones((3, 1, 1)), score=[0.2, 0.9, 0.5])
        >>> [round(float(s), 1) for s in top(masks, 2).score]
        [0.9, 0.5]
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    return masks[_by_score(masks)[:n]]


def suppress(masks: MaskSet, max_iou: float) -> MaskSet:
    """The masks without near-duplicates: greedy suppression, best score first.

    A mask goes when its IoU with a better one that stays is above ``max_iou``; of equal scores the earlier is better.

    Args:
        masks: Masks in any order.
        max_iou: In [0, 1].

    Returns:
        The masks that stay, in their order.

    Raises:
        ValueError: when ``max_iou`` is outside [0, 1].

    Example:
        >>> masks = MaskSet.from_arrays(np.ones((2, 4, 4)), score=[0.3, 0.6])
        >>> len(suppress(masks, 0.9))
        1
    """
    if not 0 <= max_iou <= 1:
        raise ValueError(f"max_iou must be within [0, 1], got {max_iou}")
    order, areas_N, boxes_N4, rles = _by_score(masks), masks.area_px, masks.boxes_xyxy, masks.to_rle_dicts()
    dropped_N = np.zeros(len(masks), dtype=bool)
    for rank, best in enumerate(order):
        if dropped_N[best]:
            continue
        rest = order[rank + 1 :]
        rest = rest[~dropped_N[rest]]
        # What the boxes and areas allow at most: an upper bound of the intersection, hence of the IoU.
        most = np.minimum(
            _box_intersection_px(boxes_N4[best], boxes_N4[rest]), np.minimum(areas_N[best], areas_N[rest])
        )
        near = rest[most > max_iou * (areas_N[best] + areas_N[rest] - most)]
        if len(near):
            iou_K = coco_rle.iou([rles[i] for i in near], [rles[best]], [0])[:, 0]
            dropped_N[near[iou_K > max_iou]] = True
    return masks[~dropped_N]


def link_parents(masks: MaskSet, min_inside: float) -> MaskSet:
    """The masks with their parents found anew.

    The parent of a mask is the smallest one that has more pixels than it and contains at least ``min_inside`` of it; of
    equally small ones the first. Parents are strictly larger, so the links form a forest. Empty masks have no parent.

    Args:
        masks: Masks in any order.
        min_inside: Share in (0, 1].

    Returns:
        The same masks in the same order; only ``parent`` changes.

    Raises:
        ValueError: when ``min_inside`` is outside (0, 1].

    Example:
        >>> whole, part = np.zeros((2, 4, 6), dtype=bool)
        >>> whole[1:3, 1:5], part[1:3, 1:3] = True, True
        >>> link_parents(MaskSet.from_arrays(np.stack([part, whole])), 0.9).parent.tolist()
        [1, -1]
    """
    if not 0 < min_inside <= 1:
        raise ValueError(f"min_inside must be within (0, 1], got {min_inside}")
    areas_N, boxes_N4 = masks.area_px, masks.boxes_xyxy
    ends = [run_ends(rle, masks.size_hw) for rle in masks.rles]
    by_area = np.argsort(areas_N, kind="stable")
    parent_N = np.full(len(masks), NO_PARENT, dtype=np.int32)
    for child in np.flatnonzero(areas_N):
        larger = by_area[np.searchsorted(areas_N[by_area], areas_N[child], side="right") :]
        most = _box_intersection_px(boxes_N4[child], boxes_N4[larger])
        for around in larger[most >= min_inside * areas_N[child]]:
            if _shared_px(ends[child], ends[around]) / areas_N[child] >= min_inside:
                parent_N[child] = around
                break
    return masks.with_fields(parent=parent_N)


def coverage(masks: MaskSet) -> float:
    """The share of the image's pixels that lie in at least one mask, 0..1."""
    if not len(masks):
        return 0.0
    union = coco_rle.merge(masks.to_rle_dicts(), intersect=False)
    return float(coco_rle.area(union)) / (masks.size_hw[0] * masks.size_hw[1])


def _by_score(masks: MaskSet) -> NDArray[np.int64]:
    return np.argsort(-masks.score, kind="stable")


def _box_intersection_px(box_4: NDArray[np.float32], boxes_K4: NDArray[np.float32]) -> NDArray[np.float64]:
    corner_low = np.maximum(box_4[:2], boxes_K4[:, :2])
    corner_high = np.minimum(box_4[2:], boxes_K4[:, 2:])
    sides_K2 = np.maximum(corner_high - corner_low, 0).astype(np.float64)
    area_K: NDArray[np.float64] = sides_K2[:, 0] * sides_K2[:, 1]
    return area_K


@numba.njit(cache=True)
def _shared_px(ends_R: NDArray[np.int64], ends_S: NDArray[np.int64]) -> int:
    """How many pixels two masks share, from where their runs end."""
    r = s = at = shared = 0
    while r < len(ends_R) and s < len(ends_S):
        stop = min(ends_R[r], ends_S[s])
        if r & s & 1:  # odd runs are the masks
            shared += stop - at
        at = stop
        r, s = r + (ends_R[r] == stop), s + (ends_S[s] == stop)
    return shared

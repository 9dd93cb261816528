"""What is done to many masks of an image: near-copies and those that a crop cuts off go, a crop's masks are put into
the image.

Axes: N masks or boxes, H W pixels; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dico.mask_codes import encode_mask
from dico.masks import MaskSet


def distinct_boxes(boxes_N4: NDArray[np.float32], rank_N: NDArray[np.floating], max_iou: float) -> NDArray[np.bool_]:
    """Which boxes stay when those that overlap a better one that stays go.

    Args:
        boxes_N4: In pixels, half-open.
        rank_N: The higher, the better; of equal ones the earlier is.
        max_iou: A box goes when its IoU with a better one is above this.

    Returns:
        bool (N,).

    Example:
        >>> boxes_N4 = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [2, 2, 9, 9]], dtype=np.float32)
        >>> distinct_boxes(boxes_N4, np.array([0.5, 0.9, 0.1]), 0.7).tolist()
        [False, True, True]
    """
    x0_N, y0_N, x1_N, y1_N = boxes_N4.T.astype(np.float64)
    area_N = (x1_N - x0_N) * (y1_N - y0_N)
    stays_N = np.zeros(len(boxes_N4), dtype=bool)
    left = np.argsort(-rank_N, kind="stable")
    while len(left):
        best, left = left[0], left[1:]
        stays_N[best] = True
        width = np.minimum(x1_N[best], x1_N[left]) - np.maximum(x0_N[best], x0_N[left])
        height = np.minimum(y1_N[best], y1_N[left]) - np.maximum(y0_N[best], y0_N[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[shared <= max_iou * (area_N[best] + area_N[left] - shared)]
    return stays_N


def inside_crop(
    boxes_N4: NDArray[np.float32], crop_xyxy: Sequence[int], size_hw: tuple[int, int], edge_px: int
) -> NDArray[np.bool_]:
    """Which masks of a crop are not cut off by it, as far as one can tell.

    Args:
        boxes_N4: In pixels of the crop.
        crop_xyxy: The crop, half-open.
        size_hw: Of the image.
        edge_px: What comes as near as this to a border of the crop may be cut off, unless it is one of the image.

    Returns:
        bool (N,).

    Example:
        >>> boxes_N4 = np.array([[0, 0, 5, 5], [0, 0, 10, 5]], dtype=np.float32)
        >>> inside_crop(boxes_N4, (0, 0, 10, 10), (10, 20), 2).tolist()
        [True, False]
    """
    x0, y0, x1, y1 = crop_xyxy
    to_border_N4 = np.abs(boxes_N4 - np.array([0, 0, x1 - x0, y1 - y0]))
    within_4 = np.array([x0 > 0, y0 > 0, x1 < size_hw[1], y1 < size_hw[0]])
    kept: NDArray[np.bool_] = ~((to_border_N4 <= edge_px) & within_4).any(axis=1)
    return kept


def pasted(masks: MaskSet, crop_xyxy: Sequence[int], size_hw: tuple[int, int]) -> MaskSet:
    """Masks of a crop as masks of its image.

    Args:
        masks: Of the crop's size.
        crop_xyxy: The crop, half-open.
        size_hw: Of the image.
    """
    x0, y0, x1, y1 = crop_xyxy
    rles = []
    for mask_HW in masks.iter_decoded():
        whole_HW = np.zeros(size_hw, dtype=bool)
        whole_HW[y0:y1, x0:x1] = mask_HW
        rles.append(encode_mask(whole_HW))
    return masks.with_fields(size_hw=size_hw, rles=tuple(rles))

"""What a prompt says of masks: what is meant fills a box, holds the clicks on it, and no others.

A network gives masks that stick out of a box and parts of what is in it, and masks that a click should have cut away
or added, and it is as sure of them.

Axes: N masks, K clicks; 2 = x, y; 4 = left, top, right, bottom.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from dico.masks import MaskSet
from dico.rle import masks_at
from training.boxes import box_overlap
from training.pixel_prompts import PixelPrompts
from training.prompts import PADDING, POSITIVE


def fitted(masks: MaskSet, prompts: PixelPrompts, p: int) -> MaskSet:
    """The masks of a prompt, less sure of those that do not fit it.

    Args:
        masks: Scored by predicted IoU.
        prompts: On an image of the size of the masks.
        p: Which of the prompts.

    Returns:
        The same masks. Each score is multiplied by the IoU of the mask's box and the prompt's, which is the most that
        is to be expected of a mask of that box, roughly; and by the share of clicks that the mask is right about. One
        that is below 0 stays.

    Example:
        >>> masks = MaskSet.from_arrays(np.ones((1, 4, 8)), score=[0.8])
        >>> fitted(masks, PixelPrompts(np.zeros((1, 0, 2)), np.zeros((1, 0)), np.array([[0.0, 0, 4, 4]])), 0).score
        array([0.4], dtype=float32)
    """
    fit_N = _right_clicks(masks, prompts.points_PK2[p], prompts.labels_PK[p])
    if prompts.boxes_P4 is not None:
        boxes_N4 = torch.from_numpy(masks.boxes_xyxy.astype(np.float64))
        overlap_N, _ = box_overlap(boxes_N4, torch.from_numpy(prompts.boxes_P4[p]))
        fit_N = fit_N * overlap_N.numpy()
    return masks.with_fields(score=np.where(masks.score > 0, masks.score * fit_N, masks.score))


def _right_clicks(masks: MaskSet, points_K2: NDArray[np.float64], labels_K: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 (N,): the share of clicks that are wanted and in a mask, or neither; 1 where there are no clicks."""
    clicked_K = labels_K != PADDING
    if not clicked_K.any():
        return np.ones(len(masks))
    height, width = masks.size_hw
    x_K, y_K = np.clip(np.rint(points_K2[clicked_K]).astype(np.int64), 0, (width - 1, height - 1)).T
    right_NK = masks_at(masks.rles, masks.size_hw, x_K, y_K) == (labels_K[clicked_K] == POSITIVE)
    share_N: NDArray[np.float64] = right_NK.mean(axis=1)
    return share_N

"""What a box says of masks: what is meant fills it.

A network that is asked with a box gives masks that stick out of it, and parts of what is in it, and it is as sure of
them.

Axes: N masks; 4 = left, top, right, bottom.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from dico.masks import MaskSet
from training.boxes import box_overlap


def fitted(masks: MaskSet, box_xyxy: ArrayLike) -> MaskSet:
    """The masks of a prompt, less sure of those that do not fill its box.

    Args:
        masks: Scored by predicted IoU.
        box_xyxy: (4,): in pixels of the image.

    Returns:
        The same masks. Each score is multiplied by the IoU of the mask's box and the prompt's, which is the most that
        is to be expected of a mask of that box, roughly; one that is below 0 stays.

    Example:
        >>> masks = MaskSet.from_arrays(np.ones((1, 4, 8)), score=[0.8])
        >>> fitted(masks, [0, 0, 4, 4]).score.tolist()
        [0.4000000059604645]
    """
    boxes_N4 = torch.from_numpy(masks.boxes_xyxy.astype(np.float64))
    overlap_N, _ = box_overlap(boxes_N4, torch.from_numpy(np.asarray(box_xyxy, dtype=np.float64)))
    return masks.with_fields(score=np.where(masks.score > 0, masks.score * overlap_N.numpy(), masks.score))

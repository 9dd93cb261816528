"""A few masks that stand for many: what to give of all that a prompt may mean.

Axes: N masks.
"""

from __future__ import annotations

import numpy as np

from dico.masks import MaskSet
from training.postprocess.prompt_masks import from_part_to_whole


def representatives(masks: MaskSet, count: int) -> MaskSet:
    """The masks among which the best one is to be expected.

    Any of the masks may be what is meant, and one is the likelier the surer it is. So those are chosen whose sum of
    scores times IoU with the nearest chosen one is large over all masks, greedily: near-copies add nothing, and what
    many masks agree on much. (Facility location: greedy choice is within 1 - 1/e of the best; Nemhauser et al. 1978.)

    Args:
        masks: Scored; a score below 0 counts as 0.
        count: How many are wanted.

    Returns:
        So many masks, or all, by rising area; of equally good ones the first.

    Example:
        >>> masks_NHW = np.stack([np.ones((4, 4)), np.tri(4, 4, 2), np.eye(4)])
        >>> representatives(MaskSet.from_arrays(masks_NHW, score=[0.4, 0.8, 0.5]), 2).area_px.tolist()
        [4, 15]
    """
    score_N = np.maximum(masks.score.astype(np.float64), 0)
    iou_NN = masks.iou()
    nearest_N = np.zeros(len(masks))
    chosen: list[int] = []
    for _ in range(min(count, len(masks))):
        adds_N = score_N @ np.maximum(iou_NN - nearest_N[:, None], 0)
        adds_N[chosen] = -1
        chosen.append(int(adds_N.argmax()))
        nearest_N = np.maximum(nearest_N, iou_NN[:, chosen[-1]])
    return from_part_to_whole(masks[np.sort(np.array(chosen, dtype=np.int64))])

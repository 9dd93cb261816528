"""The reference of label quality: graph-based segmentation (Felzenszwalb and Huttenlocher 2004) at many scales.

It is what people use who want masks of everything without labels and weights (selective search starts from it).
"""

from __future__ import annotations

import numpy as np
from skimage.segmentation import felzenszwalb

from dico.image import Image
from dico.masks import MaskSet
from dico.rasterise import rles_of_labels
from dico.selection import drop_small, suppress, top

SCALES = (25, 50, 100, 200, 400, 800, 1600, 3200)
SIGMA = 0.5
MIN_SIZE_PX = 30
MAX_IOU = 0.9
MAX_MASKS = 1000


def felzenszwalb_masks(image: Image) -> MaskSet:
    """The regions of all scales, each once, those that are larger and persist over more scales first.

    Scales, smoothing, least size and order are those that did best of some dozen tried on the dev sets.

    Args:
        image: uint8 (H, W, 3) RGB.

    Returns:
        At most ``MAX_MASKS`` masks by falling score: the share of scales with nearly the same region, times the
        square root of its share of the image.
    """
    size_hw = (image.shape[0], image.shape[1])
    levels = []
    for scale in SCALES:
        labels_HW = felzenszwalb(image, scale=scale, sigma=SIGMA, min_size=MIN_SIZE_PX)
        levels.append(MaskSet.from_rles(size_hw, rles_of_labels(labels_HW, int(labels_HW.max()) + 1)))
    pooled = drop_small(MaskSet.concat(levels), MIN_SIZE_PX)
    # Regions of one scale are disjoint, so each near-copy is of another scale.
    persistence_N = (pooled.iou() > MAX_IOU).sum(axis=1) / len(SCALES)
    area_frac_N = pooled.area_px / (size_hw[0] * size_hw[1])
    scored = pooled.with_fields(score=persistence_N * np.sqrt(area_frac_N))
    return top(suppress(scored, MAX_IOU), MAX_MASKS)

"""Masks as people look at them: coloured, over their photograph.

Axes: N masks, H W pixels.
"""

from __future__ import annotations

import numpy as np
from skimage.color import hsv2rgb
from skimage.segmentation import find_boundaries

from dico.image import Image
from dico.masks import MaskSet

OPACITY = 0.6
GOLDEN = 0.618  # multiples of it, modulo 1, keep away from one another


def paint(image: Image, masks: MaskSet) -> Image:
    """The image under coloured masks with white borders, small masks over large ones; darker where there is none.

    Args:
        image: uint8 (H, W, 3), RGB.
        masks: Of an image of that size.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: when the sizes differ.

    Example:
        >>> mask_NHW = np.zeros((1, 5, 5), dtype=bool)
        >>> mask_NHW[0, 1:4, 1:4] = True
        >>> paint(np.zeros((5, 5, 3), dtype=np.uint8), MaskSet.from_arrays(mask_NHW))[1:3, 2].tolist()
        [[255, 255, 255], [138, 41, 41]]
    """
    if image.shape[:2] != masks.size_hw:
        raise ValueError(f"masks must be of the image's size {image.shape[:2]}, got {masks.size_hw}")
    labels_HW = np.zeros(masks.size_hw, dtype=np.int64)
    for rank, n in enumerate(np.argsort(-masks.area_px, kind="stable"), 1):
        labels_HW[masks[[n]].decode()[0]] = rank
    hue_N = GOLDEN * np.arange(len(masks)) % 1
    colours_N3 = 255 * hsv2rgb(np.stack([hue_N, np.full_like(hue_N, 0.7), np.full_like(hue_N, 0.9)], axis=1))
    colours_HW3 = np.concatenate([np.zeros((1, 3)), colours_N3])[labels_HW]
    painted_HW3 = (1 - OPACITY) * image + OPACITY * colours_HW3
    painted_HW3[find_boundaries(labels_HW, mode="inner")] = 255  # type: ignore[no-untyped-call]
    return np.round(painted_HW3).astype(np.uint8)

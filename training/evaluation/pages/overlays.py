"""One image of an evaluation as people look at it: which ground truths were found, which were missed, and by what.

Axes: G ground truths, H W pixels of the image, h w pixels of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from dico.evaluate import match_image
from dico.ground_truth import AnnotatedImage
from dico.image import Image, resize_image
from dico.masks import MaskSet
from dico.matching import IOU_THRESHOLDS, NOT_FOUND
from dico.page_parts import fit_within
from dico.window import decode_window

VIEW_SIDE = 480
"""Pictures have at most so many pixels on the longer side."""
FOUND_IOU = 0.5
"""A ground truth counts as found where a mask overlaps it so much."""

FOUND, MISSED, CROWD = 1, 2, 3
# Blue and orange are told apart by all eyes, and the photograph below them is grey.
COLOURS = ((0, 0, 0), (41, 128, 255), (255, 106, 19), (235, 235, 235))
"""RGB of ``FOUND``, ``MISSED`` and ``CROWD``; 0 is none of them."""
OUTLINE_COLOUR = (255, 255, 255)
"""Of the masks that found something."""
OPACITIES = (0.0, 0.35, 0.6, 0.35)  # what was missed is looked for
COLOURED = 0.25  # so much of the photograph's colour stays
BORDER_PX = 2


@dataclass(frozen=True, eq=False)
class Overlay:
    """A picture of what was found.

    Attributes:
        picture: uint8 (h, w, 3).
        n_found: Ground truths that a mask finds.
        n_truths: Ground truths, without crowds.
    """

    picture: Image
    n_found: int
    n_truths: int


def overlay(photo: Image, image: AnnotatedImage, masks: MaskSet, *, max_det: int) -> Overlay:
    """A photograph under its ground truths, small ones over large ones, and outlines of the masks that found them.

    Args:
        photo: uint8 (H, W, 3).
        image: Its ground truths.
        masks: What was answered.
        max_det: So many masks count, the best.

    Raises:
        ValueError: when photograph, annotations and masks are not of one size.
    """
    if photo.shape[:2] != image.size_hw:
        raise ValueError(f"it has {photo.shape[:2]} pixels (height, width), its annotations say {image.size_hw}")
    finder_G = match_image(masks, image, max_det=max_det).finder_TG[IOU_THRESHOLDS.index(FOUND_IOU)]
    is_crowd_G, is_found_G = image.is_crowd, finder_G != NOT_FOUND
    truths = MaskSet.from_rles(image.size_hw, image.rles)
    view_hw = fit_within(image.size_hw, VIEW_SIDE)
    label_hw, missed_hw, outline_hw = np.zeros(view_hw, np.int64), np.zeros(view_hw, bool), np.zeros(view_hw, bool)
    for g in np.argsort(-truths.area_px, kind="stable"):
        truth_hw = _reduced(truths, g, view_hw)
        label_hw[truth_hw] = CROWD if is_crowd_G[g] else FOUND if is_found_G[g] else MISSED
        if not is_crowd_G[g] and not is_found_G[g]:
            missed_hw |= _border(truth_hw)
    best_first = np.argsort(-masks.score, kind="stable")
    for n in best_first[finder_G[is_found_G]]:
        outline_hw |= _border(_reduced(masks, n, view_hw))
    picture_hw3 = _faded(resize_image(photo, view_hw))
    picture_hw3 += np.array(OPACITIES)[label_hw, None] * (np.array(COLOURS)[label_hw] - picture_hw3)
    picture_hw3[missed_hw] = COLOURS[MISSED]
    picture_hw3[outline_hw] = OUTLINE_COLOUR
    return Overlay(np.round(picture_hw3).astype(np.uint8), int(is_found_G.sum()), int((~is_crowd_G).sum()))


def _faded(photo: Image) -> NDArray[np.float64]:
    """The photograph nearly grey, so that colours stand out."""
    grey_hw1 = photo.mean(axis=2, keepdims=True)
    faded: NDArray[np.float64] = COLOURED * photo + (1 - COLOURED) * grey_hw1
    return faded


def _reduced(masks: MaskSet, n: int, view_hw: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = masks.size_hw
    return decode_window(masks.rles[n], masks.size_hw, (0, 0, width, height), view_hw)


def _border(mask_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask along its border, that of the picture included."""
    border_hw: NDArray[np.bool_] = mask_hw & ~binary_erosion(mask_hw, iterations=BORDER_PX)
    return border_hw

"""MaskCut: whole objects by repeated normalised cuts (Wang et al., CutLER, 2023, section 3.2).

Axes: h w patches, N = h x w patches in a row.

Deviations from the published code: patches of earlier masks leave the graph, where it zeroes their features and so
keeps them as noise; masks are therefore disjoint, and its test for overlap with the mask before has nothing to find. A
mask that is too small takes its patches along too, or the next cut would find it again. The published number of cuts is
fixed; here a cut that separates hardly anything ends the search (``min_score``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dico.affinity import binary_affinity
from dico.config import DivideConfig
from dico.features.base import PatchFeatures
from dico.image import Image
from dico.masks import MaskSet
from dico.ncut import NormalisedCut, normalised_cut, separation
from dico.rasterise import rles_of_nodes


class MaskCut:
    """A divider that needs features only.

    The score of a mask is :func:`dico.ncut.separation` on the graph of all patches: 1 - Ncut(mask, rest of the image).

    Args:
        config: Its options.

    Example:
        >>> feats_hwC = np.zeros((4, 6, 2), dtype=np.float32)
        >>> feats_hwC[..., 0] = 1
        >>> feats_hwC[1:3, 2:4] = [0, 1]
        >>> features = PatchFeatures(feats_hwC, 2, (8, 12))
        >>> masks = MaskCut(DivideConfig(max_masks=3)).divide(np.zeros((8, 12, 3), np.uint8), features)
        >>> masks.boxes_xyxy[0].tolist()
        [4.0, 2.0, 8.0, 6.0]
    """

    def __init__(self, config: DivideConfig) -> None:
        self.config = config

    def divide(self, image: Image, features: PatchFeatures) -> MaskSet:
        """The coarse masks of an image, in the order in which they were cut; disjoint."""
        labels_hw, scores = cut_masks(features.feats_hwC, self.config)
        sets = np.arange(len(scores) + 1)
        rles = rles_of_nodes(labels_hw, sets, sets[:-1], image.shape[:2])
        return MaskSet.from_rles((image.shape[0], image.shape[1]), rles, score=scores, source="divide")


def cut_masks(feats_hwC: NDArray[np.float32], config: DivideConfig) -> tuple[NDArray[np.int32], list[float]]:
    """The masks that repeated cuts find among patches.

    Args:
        feats_hwC: float32 (h, w, C) of unit norm.
        config: Options.

    Returns:
        int32 (h, w): the mask each patch is in, in order of finding, or -1; and the score of each mask.
    """
    size_hw = feats_hwC.shape[:2]
    labels_hw = np.full(size_hw, -1, dtype=np.int32)
    scores: list[float] = []
    if not config.max_masks:
        return labels_hw, scores
    affinity = binary_affinity(feats_hwC.reshape(-1, feats_hwC.shape[2]), tau=config.tau, eps=config.eps)
    active_hw = np.ones(size_hw, dtype=bool)
    for _ in range(config.max_masks):
        if active_hw.sum() < 2:
            break
        mask_hw = seed_component(normalised_cut(affinity, active_hw.ravel()), active_hw)
        score = separation(affinity, mask_hw.ravel())
        if score <= config.min_score:
            break
        active_hw &= ~mask_hw
        if mask_hw.mean() > config.min_area_frac:
            labels_hw[mask_hw] = len(scores)
            scores.append(score)
    return labels_hw, scores


def seed_component(cut: NormalisedCut, active_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The object that a cut separates: the connected part, on the foreground side, around the strongest patch.

    The sides are exchanged when three or four corners of the image are foreground, or else when the entry of largest
    magnitude is not.

    Args:
        cut: A cut of the patches that are active.
        active_hw: bool (h, w): patches that no mask has taken.

    Returns:
        bool (h, w): the mask, connected through edges of patches.
    """
    vector_hw = cut.vector_N.reshape(active_hw.shape)
    foreground_hw = cut.above_N.reshape(active_hw.shape)
    corners = foreground_hw[[0, 0, -1, -1], [0, -1, 0, -1]].sum()
    strongest = np.unravel_index(np.argmax(np.abs(vector_hw)), vector_hw.shape)
    if corners >= 3 or not foreground_hw[strongest]:
        foreground_hw, vector_hw = active_hw & ~foreground_hw, -vector_hw
    seed = np.unravel_index(np.argmax(np.where(active_hw, vector_hw, -np.inf)), vector_hw.shape)
    components_hw, _ = ndimage.label(foreground_hw)
    return np.asarray(foreground_hw & (components_hw == components_hw[seed]))

"""Borders from a fully connected CRF (Krähenbühl and Koltun 2011), as few of them as possible.

One CRF for each mask would take minutes an image. Small masks get a CRF on a view of their surroundings, which costs
little; large masks that do not overlap share one CRF with a label each.

Axes: L labels (0 is background), h w pixels of a view.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dico.config import RefineConfig
from dico.image import Image
from dico.masks import MaskSet
from dico.refine.base import look, replace_masks, surroundings, whole

_MAX_LABELS = 32  # masks that share a CRF: bounds its memory at 0.1 GB for 480 x 480 pixels


class DenseCrf:
    """Mean field of a dense CRF whose unary is the mask.

    Raises:
        ImportError: when pydensecrf is not installed.
    """

    def __init__(self, config: RefineConfig) -> None:
        self.config = config
        _pydensecrf()

    def refine(self, image: Image, masks: MaskSet) -> MaskSet:
        """The masks with their borders on the image's edges; as :class:`dico.refine.base.Refiner` says."""
        masks = masks[masks.area_px > 0]
        rles = list(masks.rles)
        large = []
        for n, box_xyxy in enumerate(masks.boxes_xyxy):
            near = surroundings(box_xyxy, masks.size_hw)
            if near is None:
                large.append(n)
                continue
            view = look(image, near, self.config.max_side // 2)
            labels_hw = view.decode(masks.rles[n]).astype(np.int32)
            rles[n] = view.encode(soft_mask(mean_field(view.pixels_hw3, labels_hw, 2, self.config), 1))
        large.sort(key=lambda n: int(masks.level[n]))  # masks of one level seldom overlap
        view = whole(image, self.config.max_side)
        for labels_hw, members in disjoint_layers(((n, view.decode(masks.rles[n])) for n in large), _MAX_LABELS):
            probability_Lhw = mean_field(view.pixels_hw3, labels_hw, len(members) + 1, self.config)
            for label, n in enumerate(members, start=1):
                rles[n] = view.encode(soft_mask(probability_Lhw, label))
        return replace_masks(masks, rles, self.config)


def disjoint_layers(
    masks: Iterable[tuple[int, NDArray[np.bool_]]], max_labels: int
) -> list[tuple[NDArray[np.int32], list[int]]]:
    """Masks packed into label maps: each into the first one where it overlaps nothing.

    Args:
        masks: Names and bool (h, w) masks, taken one at a time.
        max_labels: At most so many masks a map.

    Returns:
        For each map the labels, int32 (h, w) with 0 where there is no mask, and the names of labels 1, 2, ...

    Example:
        >>> left, right = np.array([[True, False]]), np.array([[False, True]])
        >>> [(labels.tolist(), names) for labels, names in disjoint_layers([(7, left), (8, left), (9, right)], 32)]
        [([[1, 2]], [7, 9]), ([[1, 0]], [8])]
    """
    layers: list[tuple[NDArray[np.int32], list[int]]] = []
    for name, mask_hw in masks:
        for labels_hw, names in layers:
            if len(names) < max_labels and not labels_hw[mask_hw].any():
                break
        else:
            labels_hw, names = np.zeros(mask_hw.shape, dtype=np.int32), []
            layers.append((labels_hw, names))
        names.append(name)
        labels_hw[mask_hw] = len(names)
    return layers


def mean_field(
    pixels_hw3: Image, labels_hw: NDArray[np.int32], n_labels: int, config: RefineConfig
) -> NDArray[np.float32]:
    """The CRF's marginals.

    Args:
        pixels_hw3: uint8 (h, w, 3) RGB.
        labels_hw: int32 (h, w), 0..n_labels - 1: where each label is now.
        n_labels: L, at least 2.
        config: Kernels and the number of iterations.

    Returns:
        float32 (L, h, w): the probability of each label, summing to 1 over L.
    """
    height, width = labels_hw.shape
    crf = _pydensecrf().DenseCRF2D(width, height, n_labels)
    # At weight 1: minus the logarithm of the soft-maxed one-hot masks, less a constant that mean field does not notice.
    other_Lhw = labels_hw[None] != np.arange(n_labels, dtype=np.int32)[:, None, None]
    energy_Lhw = other_Lhw * np.float32(config.unary_weight)
    crf.setUnaryEnergy(energy_Lhw.reshape(n_labels, -1))
    crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.array(pixels_hw3, order="C"),  # a copy, as it takes no read-only array
        compat=config.bilateral_compat,
    )
    marginals = np.array(crf.inference(config.iterations), dtype=np.float32)
    return marginals.reshape(n_labels, height, width)


def soft_mask(probability_Lhw: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    """float32 (h, w): a label's probability against its best rival; above 1/2 where the label wins."""
    rivals_hw = np.delete(probability_Lhw, label, axis=0).max(axis=0)
    own_hw = probability_Lhw[label]
    soft_hw: NDArray[np.float32] = own_hw / np.maximum(own_hw + rivals_hw, np.finfo(np.float32).tiny)
    return soft_hw


def _pydensecrf() -> ModuleType:
    try:
        return importlib.import_module("pydensecrf.densecrf")
    except ImportError as error:
        raise ImportError(
            "refine.method=crf needs pydensecrf, which is compiled on install: pip install pydensecrf2; "
            "or choose the refiner that needs no compiler: refine.method=guided"
        ) from error

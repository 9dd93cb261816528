"""The extractor that needs no weights: superpixels, the evidence along their borders, and what each looks like.

Axes: H W pixels of the (reduced) image, h w cells of the grid, N superpixels, E borders, P pairs of pixels across a
border, K kinds of evidence, O orientations, X pixels in a row, B bins, C channels.

Boundary evidence follows gPb (Arbelaez et al. 2011): histogram gradients of lightness, two colour axes and textons at
several scales, read along each border's own direction. As there, a spectral cue is added, but only in
``more_strengths``: ``strength_E`` stays local, as outlines are judged by what is seen at them. gPb's weights are fitted
to human boundaries; here every colour channel counts the same and texture a little less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab

from dico.config import ClassicalConfig
from dico.features.base import PatchFeatures, RegionGraph
from dico.features.gradients import NUM_ORIENTATIONS, one_hot, oriented_gradients, soft_bins
from dico.features.spectral import spectral_embedding, spectral_strength
from dico.features.superpixels import (
    Borders,
    find_borders,
    label_histograms,
    normal_orientation,
    superpixels,
)
from dico.features.textons import texton_map
from dico.image import Image, resize_image

_LAB_RANGES = ((0.0, 100.0), (-50.0, 50.0), (-50.0, 50.0))
_LAB_SIGMA = 0.7  # pixels: takes off the noise of the sensor and of JPEG
_GRADIENT_BINS = 10
_TEXTON_WEIGHT = 0.7  # of a texton gradient, beside 1 for a gradient of lightness or of a colour axis
# Kinds of boundary evidence: the radii, in pixels, of its gradients of colour and of textons. The first is the main
# one; the others see details and outlines that it averages away.
_EVIDENCE = (((2, 4, 8), (6, 12)), ((2, 4), (6,)), ((8, 16), (12, 24)))
_FINE = 1  # the kind that shares in where superpixels lie
_WORD_RANGES = ((0.0, 100.0), (-40.0, 40.0), (-40.0, 40.0))
_COLOUR_WORDS = 12
_NUM_TEXTONS = 24
_CELL = 8  # pixels


class ClassicalExtractor:
    """Colour, texture, boundaries and their eigenvectors.

    The graph's nodes are superpixels; their features are the square roots of histograms of colour and textons, whose
    cosine is the Bhattacharyya coefficient. The grid holds the spectral embedding, whose cosine says whether two places
    are on the same side of the cheapest cuts.

    Args:
        config: Resolution, smoothing, and the weight of the spectral cue.
        seed: Of the choice of pixels that textons are found on.
    """

    def __init__(self, config: ClassicalConfig, *, seed: int = 0) -> None:
        self.config = config
        self.seed = seed

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """As :class:`dico.features.base.Extractor` says; ``size`` bounds the pixels, to those of such a square."""
        return [self._extract_one(image, size * size if size else self.config.max_pixels) for image in images]

    def _extract_one(self, image: Image, max_pixels: int) -> PatchFeatures:
        small_HW3 = _reduce(image, max_pixels)
        lab_HW3 = np.asarray(rgb2lab(small_HW3), dtype=np.float32)
        textons_HW = texton_map(lab_HW3[..., 0], _NUM_TEXTONS, seed=self.seed)
        evidence_KOHW = boundary_evidence(lab_HW3, textons_HW)
        labels_HW = superpixels(
            0.5 * (evidence_KOHW[0].max(axis=0) + evidence_KOHW[_FINE].max(axis=0)), sigma=self.config.superpixel_sigma
        )
        borders = find_borders(labels_HW)
        local_KE = _along_borders(evidence_KOHW, borders)
        num_nodes = int(labels_HW.max()) + 1
        embeddings = [
            spectral_embedding(borders.edges_E2, local_E, borders.length_E, num_nodes) for local_E in local_KE
        ]
        closed = [
            local_E + self.config.spectral_weight * spectral_strength(borders.edges_E2, embedding_NK)
            for local_E, embedding_NK in zip(local_KE, embeddings, strict=True)
        ]
        graph = RegionGraph(
            labels_hw=labels_HW,
            edges_E2=borders.edges_E2,
            feats_NC=_appearance(labels_HW, lab_HW3, textons_HW),
            sizes_N=np.bincount(labels_HW.ravel()),
            strength_E=local_KE[0].astype(np.float32),
            length_E=borders.length_E,
            more_strengths=tuple(np.clip(strength_E, 0, 1).astype(np.float32) for strength_E in closed),
        )
        size_hw = (image.shape[0], image.shape[1])
        return PatchFeatures(_embedding_grid(labels_HW, embeddings[0]), _CELL, size_hw, graph)


def boundary_evidence(lab_HW3: NDArray[np.float32], textons_HW: NDArray[np.int32]) -> NDArray[np.float32]:
    """Local evidence for a boundary at each pixel.

    Args:
        lab_HW3: float32 (H, W, 3) in CIE Lab.
        textons_HW: int32 (H, W).

    Returns:
        float32 (K, O, H, W) in [0, 1]: for each kind of evidence (all scales, fine, coarse) and each orientation, the
        weighted mean of the gradients of lightness, the two colour axes and textons.
    """
    smooth_HW3 = gaussian_filter(lab_HW3, (_LAB_SIGMA, _LAB_SIGMA, 0), mode="nearest")
    evidence_KOHW = np.zeros((len(_EVIDENCE), NUM_ORIENTATIONS, *textons_HW.shape), dtype=np.float32)
    colour, textons = zip(*_EVIDENCE, strict=True)
    for channel, (low, high) in enumerate(_LAB_RANGES):
        bins_BHW = soft_bins(smooth_HW3[..., channel], low, high, _GRADIENT_BINS)
        _add_gradients(evidence_KOHW, bins_BHW, colour, 1.0)
    _add_gradients(evidence_KOHW, one_hot(textons_HW, _NUM_TEXTONS), textons, _TEXTON_WEIGHT)
    for evidence_OHW, (colour_scales, texton_scales) in zip(evidence_KOHW, _EVIDENCE, strict=True):
        evidence_OHW /= len(_LAB_RANGES) * len(colour_scales) + _TEXTON_WEIGHT * len(texton_scales)
    return evidence_KOHW


def _add_gradients(
    evidence_KOHW: NDArray[np.float32],
    bins_BHW: NDArray[np.float32],
    scales_of_kinds: Sequence[Sequence[int]],
    weight: float,
) -> None:
    bins_BHW = bins_BHW[bins_BHW.any(axis=(1, 2))]  # a bin that holds no pixel differs nowhere
    for scale in sorted({scale for scales in scales_of_kinds for scale in scales}):
        gradients_OHW = oriented_gradients(bins_BHW, scale)
        gradients_OHW *= np.float32(weight)
        for evidence_OHW, scales in zip(evidence_KOHW, scales_of_kinds, strict=True):
            if scale in scales:
                evidence_OHW += gradients_OHW


def _reduce(image: Image, max_pixels: int) -> Image:
    scale = min(1.0, (max_pixels / (image.shape[0] * image.shape[1])) ** 0.5)
    # Of an image one pixel high, only the width can shrink.
    height, width = (min(max(1, round(side * scale)), max_pixels) for side in image.shape[:2])
    return resize_image(image, (height, width))


def _along_borders(evidence_KOHW: NDArray[np.float32], borders: Borders) -> list[NDArray[np.float64]]:
    """K times float64 (E,): the mean evidence on each border's two sides, for a boundary of the border's direction."""
    num_orientations, width = evidence_KOHW.shape[1], evidence_KOHW.shape[3]
    orientation_P = normal_orientation(borders, width, num_orientations)
    evidence_KOX = evidence_KOHW.reshape(len(evidence_KOHW), num_orientations, -1)
    return [
        borders.mean(evidence_OX[orientation_P[:, None], borders.pixels_P2].mean(axis=1))
        for evidence_OX in evidence_KOX
    ]


def _appearance(
    labels_HW: NDArray[np.int32], lab_HW3: NDArray[np.float32], textons_HW: NDArray[np.int32]
) -> NDArray[np.float32]:
    histograms = []
    for channel, (low, high) in enumerate(_WORD_RANGES):
        words_HW = ((lab_HW3[..., channel] - low) / (high - low) * _COLOUR_WORDS).astype(np.int64)
        histograms.append(label_histograms(labels_HW, np.clip(words_HW, 0, _COLOUR_WORDS - 1), _COLOUR_WORDS))
    histograms.append(label_histograms(labels_HW, textons_HW, _NUM_TEXTONS))
    return np.sqrt(np.concatenate(histograms, axis=1)).astype(np.float32)


def _embedding_grid(labels_HW: NDArray[np.int32], embedding_NK: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 (h, w, K) of unit norm: the embedding at the centre of each cell; one constant channel when K is 0."""
    height, width = labels_HW.shape
    rows, columns = (np.minimum(np.arange(0, side, _CELL) + _CELL // 2, side - 1) for side in (height, width))
    if not embedding_NK.shape[1]:
        return np.ones((len(rows), len(columns), 1), dtype=np.float32)
    cells_hwK = embedding_NK[labels_HW[np.ix_(rows, columns)]]
    norms_hw1 = np.linalg.norm(cells_hwK, axis=2, keepdims=True)
    return np.asarray(cells_hwK / np.maximum(norms_hw1, 1e-12), dtype=np.float32)

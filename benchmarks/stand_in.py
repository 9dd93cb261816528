"""An extractor that stands in for a vision transformer: its shapes and smoothness, from real photographs, no weights.

Axes: S side of the square image in pixels, h w cells, D statistics of a cell, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from skimage.color import rgb2lab

from dico.features.base import PatchFeatures
from dico.image import Image, resize_image

PATCH = 8
_ORIENTATIONS = 4
_POSITION_WEIGHT = 0.5
_BANDWIDTH = 1.4  # in deviations of a statistic: cosines of neighbours are near 0.8, those of strangers near 0


class StandInExtractor:
    """Colour, its variation, oriented gradients and position of each patch, spread over many channels.

    Random Fourier features (Rahimi and Recht 2007) turn the statistics into vectors whose cosine falls with their
    distance, as that of a transformer's keys does.

    Args:
        channels: C; ViT-B has 768, ViT-S 384.
        size: S when ``extract`` is not asked for another.
    """

    def __init__(self, channels: int, size: int) -> None:
        self.size = size
        rng = np.random.default_rng(0)
        self._directions_DC = rng.standard_normal((6 + _ORIENTATIONS + 2, channels)) / _BANDWIDTH
        self._phases_C = rng.uniform(0, 2 * np.pi, channels)

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """As :class:`dico.features.base.Extractor` says."""
        return [self._extract_one(image, size or self.size) for image in images]

    def _extract_one(self, image: Image, size: int) -> PatchFeatures:
        feats_hwC = np.cos(cell_statistics(resize_image(image, (size, size))) @ self._directions_DC + self._phases_C)
        feats_hwC /= np.linalg.norm(feats_hwC, axis=2, keepdims=True)
        return PatchFeatures(feats_hwC.astype(np.float32), PATCH, (image.shape[0], image.shape[1]))


def cell_statistics(image_SS3: Image) -> NDArray[np.float64]:
    """float64 (h, w, D): each statistic has mean 0 and deviation 1 over the image, position has less."""
    lab_SS3 = rgb2lab(image_SS3)
    dy_SS, dx_SS = np.gradient(gaussian_filter(lab_SS3[..., 0], 1))
    magnitude_SS, angle_SS = np.hypot(dy_SS, dx_SS), np.arctan2(dy_SS, dx_SS)
    tuned = [magnitude_SS * np.cos(angle_SS - np.pi * k / _ORIENTATIONS) ** 2 for k in range(_ORIENTATIONS)]
    mean_SS3, square_SS3 = (uniform_filter(values, (2 * PATCH, 2 * PATCH, 0)) for values in (lab_SS3, lab_SS3**2))
    deviation_SS3 = np.sqrt(np.maximum(square_SS3 - mean_SS3**2, 0))
    tuned_SSO = uniform_filter(np.stack(tuned, axis=2), (2 * PATCH, 2 * PATCH, 0))
    stats_hwD = np.concatenate([mean_SS3, deviation_SS3, tuned_SSO], axis=2)[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]
    stats_hwD = stats_hwD - stats_hwD.mean(axis=(0, 1))
    stats_hwD /= np.maximum(stats_hwD.std(axis=(0, 1)), 1e-6)
    place_hw2 = np.stack(np.meshgrid(*(np.linspace(-1.7, 1.7, side) for side in stats_hwD.shape[:2]), indexing="ij"), 2)
    return np.concatenate([stats_hwD, _POSITION_WEIGHT * place_hw2], axis=2)

"""Textons: the kinds of texture of one image, as a map of labels (Malik et al., 2001).

Axes: H W pixels, F filters, T textons, P pixels in a row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

_SIGMAS = (1.0, 2.0)
_ORIENTATIONS = 4
_SAMPLE = 4000  # pixels that the centres are found on
_ROUNDS = 8  # of k-means
_NOISE = 3.0  # responses below this, in units of lightness 0..100, count little


def texton_map(lightness_HW: NDArray[np.float32], num_textons: int, *, seed: int = 0) -> NDArray[np.int32]:
    """The texton of each pixel: the nearest of ``num_textons`` typical vectors of filter responses.

    Args:
        lightness_HW: float32 (H, W), 0..100.
        num_textons: T; small images have as many as pixels at most.

        seed: Of the choice of pixels that the centres are found on.

    Returns:
        int32 (H, W), values below ``num_textons``. The same image and seed give the same map.
    """
    responses_PF = filter_responses(lightness_HW).reshape(lightness_HW.size, -1)
    rng = np.random.default_rng(seed)
    sample_PF = responses_PF[rng.choice(len(responses_PF), min(_SAMPLE, len(responses_PF)), replace=False)]
    centres_TF = sample_PF[: min(num_textons, len(sample_PF))].copy()
    for _ in range(_ROUNDS):
        nearest_P = _nearest(sample_PF, centres_TF)
        for t in range(len(centres_TF)):
            members = nearest_P == t
            if members.any():
                centres_TF[t] = sample_PF[members].mean(axis=0)
    return _nearest(responses_PF, centres_TF).reshape(lightness_HW.shape).astype(np.int32)


def filter_responses(lightness_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Responses to spots, bars and edges of several sizes and directions, contrast-normalised.

    Args:
        lightness_HW: float32 (H, W), 0..100.

    Returns:
        float32 (H, W, F). A vector's length grows with the logarithm of the contrast (Weber's law), its direction is
        the kind of texture. Edges count by magnitude, so that a dark and a bright side look alike.
    """

    def derivative(sigma: float, order: tuple[int, int]) -> NDArray[np.float32]:
        response: NDArray[np.float32] = gaussian_filter(lightness_HW, sigma, order=order, mode="nearest")
        return response * np.float32(sigma ** sum(order))

    responses = []
    angles = [np.pi * o / _ORIENTATIONS for o in range(_ORIENTATIONS)]
    for sigma in _SIGMAS:
        along_y, along_x = derivative(sigma, (2, 0)), derivative(sigma, (0, 2))
        across = derivative(sigma, (1, 1))
        slope_y, slope_x = derivative(sigma, (1, 0)), derivative(sigma, (0, 1))
        responses.append(along_x + along_y)
        for cosine, sine in ((np.float32(np.cos(a)), np.float32(np.sin(a))) for a in angles):
            responses.append(cosine**2 * along_x + sine**2 * along_y + 2 * cosine * sine * across)
            responses.append(np.abs(cosine * slope_x + sine * slope_y))
    responses_HWF = np.stack(responses, axis=-1)
    length_HW1 = np.linalg.norm(responses_HWF, axis=-1, keepdims=True)
    responses_HWF *= np.log1p(length_HW1 / _NOISE) / (length_HW1 + 1e-6)
    return np.asarray(responses_HWF, dtype=np.float32)


def _nearest(points_PF: NDArray[np.float32], centres_TF: NDArray[np.float32]) -> NDArray[np.int64]:
    # Squared distances, but for the square of the point, which is the same for all centres.
    distances_PT = points_PF @ (-2 * centres_TF.T)
    distances_PT += (centres_TF**2).sum(axis=1)
    return np.asarray(distances_PT.argmin(axis=1))

"""Boundary evidence: how much the distributions of a cue differ on the two sides of every pixel.

Axes: B bins of a cue, O orientations, H W pixels. Orientation o is the direction pi * o / O of the normal of a border.

After Martin, Fowlkes and Malik (2004), whose gradient compares the histograms of two half discs by their chi-squared
distance. Deviation: the half discs are two Gaussian windows beside the pixel, which need one blur a bin instead of one
count a pixel and orientation; and the square root of the distance is taken, which evens out strong and weak borders.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

NUM_ORIENTATIONS = 8
_WINDOW = 0.5  # deviation of a window, in radii
_OFFSET = 0.6  # distance of a window from the pixel, in radii
_TRUNCATE = 2.5  # deviations at which a window ends


def soft_bins(values_HW: NDArray[np.floating], low: float, high: float, num_bins: int) -> NDArray[np.float32]:
    """Each value shared between the two bins nearest to it.

    Args:
        values_HW: (H, W); values outside of [low, high] go to the end bins.
        low: Centre of the first bin.
        high: Centre of the last bin.
        num_bins: B, at least 2.

    Returns:
        float32 (B, H, W), at least 0, summing to 1 along B.

    Example:
        >>> soft_bins(np.array([[0.0, 2.5]]), 0, 10, 3)[:, 0].tolist()
        [[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]]
    """
    position_HW = np.clip((values_HW - low) / (high - low), 0, 1) * (num_bins - 1)
    lower_HW = np.minimum(position_HW.astype(np.int64), num_bins - 2)[None]
    share_HW = (position_HW - lower_HW).astype(np.float32)
    bins_BHW = np.zeros((num_bins, *values_HW.shape), dtype=np.float32)
    np.put_along_axis(bins_BHW, lower_HW, 1 - share_HW, axis=0)
    np.put_along_axis(bins_BHW, lower_HW + 1, share_HW, axis=0)
    return bins_BHW


def one_hot(labels_HW: NDArray[np.integer], num_labels: int) -> NDArray[np.float32]:
    """Float32 (num_labels, H, W): 1 where a pixel has the label, 0 elsewhere."""
    bins_BHW = np.zeros((num_labels, *labels_HW.shape), dtype=np.float32)
    np.put_along_axis(bins_BHW, labels_HW[None].astype(np.int64), 1, axis=0)
    return bins_BHW


def oriented_gradients(bins_BHW: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """The difference of the distributions of a cue on the two sides of each pixel, for every orientation.

    Args:
        bins_BHW: float32 (B, H, W), at least 0, summing to 1 along B.
        radius: Size of the neighbourhood in pixels.

    Returns:
        float32 (O, H, W) in [0, 1].

    Example:
        >>> left_right = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 8, axis=0)
        >>> gradients_OHW = oriented_gradients(one_hot(left_right, 2), radius=2)
        >>> bool(gradients_OHW[0, 4, 4] > 5 * gradients_OHW[NUM_ORIENTATIONS // 2, 4, 4])
        True
    """
    windows_BHW = np.empty_like(bins_BHW)
    for bin_HW, window_HW in zip(bins_BHW, windows_BHW, strict=True):
        gaussian_filter(bin_HW, _WINDOW * radius, output=window_HW, mode="nearest", truncate=_TRUNCATE)
    pad = int(np.ceil(_OFFSET * radius))
    padded_BHW = np.pad(windows_BHW, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    gradients_OHW = np.zeros((NUM_ORIENTATIONS, *bins_BHW.shape[1:]), dtype=np.float32)
    for o, gradient_HW in enumerate(gradients_OHW):
        angle = np.pi * o / NUM_ORIENTATIONS
        dy, dx = round(_OFFSET * radius * np.sin(angle)), round(_OFFSET * radius * np.cos(angle))
        _add_chi_squared(padded_BHW, pad, dy, dx, gradient_HW)
    return np.sqrt(0.5 * gradients_OHW)


@numba.njit(cache=True)
def _add_chi_squared(padded_BHW: NDArray[np.float32], pad: int, dy: int, dx: int, out_HW: NDArray[np.float32]) -> None:
    height, width = out_HW.shape
    tiny = np.float32(1e-6)
    for y in range(height):
        for b in range(len(padded_BHW)):
            one_W = padded_BHW[b, y + pad + dy, pad + dx : pad + dx + width]
            other_W = padded_BHW[b, y + pad - dy, pad - dx : pad - dx + width]
            for x in range(width):
                difference = one_W[x] - other_W[x]
                out_HW[y, x] += difference * difference / (one_W[x] + other_W[x] + tiny)

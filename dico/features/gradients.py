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
    pad = int(np.ceil(_OFFSET * radius))
    padded_BHW = _windows(bins_BHW, _half_gaussian(_WINDOW * radius), pad)
    gradients_OHW = np.empty((NUM_ORIENTATIONS, *bins_BHW.shape[1:]), dtype=np.float32)
    for o, gradient_HW in enumerate(gradients_OHW):
        angle = np.pi * o / NUM_ORIENTATIONS
        dy, dx = round(_OFFSET * radius * np.sin(angle)), round(_OFFSET * radius * np.cos(angle))
        _compare(padded_BHW, pad, dy, dx, gradient_HW)
    return gradients_OHW


def _half_gaussian(sigma: float) -> NDArray[np.float64]:
    """The weights of a Gaussian window from its middle on; both halves together sum to 1."""
    reach = int(_TRUNCATE * sigma + 0.5)
    weights_X = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
    return np.asarray((weights_X / weights_X.sum())[reach:])


def _windows(bins_BHW: NDArray[np.float32], weights_R: NDArray[np.float64], pad: int) -> NDArray[np.float32]:
    """Weighted means, (B, H + 2 pad, W + 2 pad): down the columns, then along the rows; edges are repeated.

    To the bit what ``scipy.ndimage.gaussian_filter`` and ``numpy.pad`` give, in a third of the time.
    """
    num_bins, height, width = bins_BHW.shape
    # Made here because NumPy asks for huge pages, and numba does not.
    padded_BHW = np.empty((num_bins, height + 2 * pad, width + 2 * pad), dtype=np.float32)
    _fill_windows(bins_BHW, weights_R, pad, padded_BHW)
    return padded_BHW


@numba.njit(cache=True)
def _fill_windows(
    bins_BHW: NDArray[np.float32], weights_R: NDArray[np.float64], pad: int, padded_BHW: NDArray[np.float32]
) -> None:
    num_bins, height, width = bins_BHW.shape
    reach = len(weights_R) - 1
    sums_W, row_X = np.empty(width, dtype=np.float64), np.empty(width + 2 * reach, dtype=np.float32)
    for b in range(num_bins):
        bin_HW, padded_HW = bins_BHW[b], padded_BHW[b]
        for y in range(height):
            _weigh(sums_W, bin_HW[y], bin_HW[y], 0.5 * weights_R[0], True)
            for r in range(reach, 0, -1):
                _weigh(sums_W, bin_HW[max(y - r, 0)], bin_HW[min(y + r, height - 1)], weights_R[r], False)
            _repeat_ends(row_X, sums_W)
            _weigh(sums_W, row_X[reach:], row_X[reach:], 0.5 * weights_R[0], True)
            for r in range(reach, 0, -1):
                _weigh(sums_W, row_X[reach - r :], row_X[reach + r :], weights_R[r], False)
            _repeat_ends(padded_HW[pad + y], sums_W)
        padded_HW[:pad] = padded_HW[pad]
        padded_HW[pad + height :] = padded_HW[pad + height - 1]


@numba.njit(cache=True)
def _weigh(
    sums_W: NDArray[np.float64], one_W: NDArray[np.float32], other_W: NDArray[np.float32], weight: float, first: bool
) -> None:
    for x in range(len(sums_W)):
        both = weight * (np.float64(one_W[x]) + np.float64(other_W[x]))
        sums_W[x] = both if first else sums_W[x] + both


@numba.njit(cache=True)
def _repeat_ends(row_X: NDArray[np.float32], values_W: NDArray[np.float64]) -> None:
    """A row with values in its middle, and the first and last of them repeated on both sides."""
    width = len(values_W)
    side = (len(row_X) - width) // 2
    middle_W = row_X[side:]
    for x in range(width):
        middle_W[x] = values_W[x]
    row_X[:side] = middle_W[0]
    row_X[side + width :] = middle_W[width - 1]


# With Python's division, which raises at 0, the compiler could not work on several pixels at once.
@numba.njit(cache=True, error_model="numpy")
def _compare(padded_BHW: NDArray[np.float32], pad: int, dy: int, dx: int, out_HW: NDArray[np.float32]) -> None:
    """The square root of the chi-squared distance of the windows on the two sides of each pixel."""
    height, width = out_HW.shape
    half, tiny = np.float32(0.5), np.float32(1e-6)
    for y in range(height):
        out_W = out_HW[y]
        out_W[:] = 0
        for b in range(len(padded_BHW)):
            one_W = padded_BHW[b, y + pad + dy, pad + dx : pad + dx + width]
            other_W = padded_BHW[b, y + pad - dy, pad - dx : pad - dx + width]
            for x in range(width):
                difference = one_W[x] - other_W[x]
                out_W[x] += difference * difference / (one_W[x] + other_W[x] + tiny)
        for x in range(width):
            out_W[x] = np.sqrt(half * out_W[x])

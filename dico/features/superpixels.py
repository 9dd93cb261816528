"""Superpixels: small regions between boundaries, and the borders they share.

Axes: H W pixels, N superpixels, E pairs of superpixels that touch, P pairs of pixels across a border, O orientations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

_GREY_LEVELS = 1000  # of boundary evidence, for the watershed
_PIECE = 8  # pixels: a border's direction is measured on pieces of this size
_SHORT = 4  # pixel pairs: a shorter piece has the direction of its own pixels


@dataclass(frozen=True, eq=False)
class Borders:
    """Where superpixels touch.

    Attributes:
        edges_E2: int32 (E, 2): pairs of superpixels, the smaller first, sorted and unique.
        pixels_P2: int64 (P, 2): for each pair of neighbouring pixels with different labels, their flat indices.
        edge_P: int64 (P,): the edge that each pair of pixels is part of.
        length_E: float32 (E,): the number of pixel pairs of each edge.
    """

    edges_E2: NDArray[np.int32]
    pixels_P2: NDArray[np.int64]
    edge_P: NDArray[np.int64]
    length_E: NDArray[np.float32]

    def mean(self, values_P: NDArray[np.floating]) -> NDArray[np.float64]:
        """float64 (E,): the mean over each border of a value of its pixel pairs."""
        return np.bincount(self.edge_P, values_P, len(self.edges_E2)) / self.length_E


def superpixels(boundary_HW: NDArray[np.floating], *, sigma: float) -> NDArray[np.int32]:
    """The basins of boundary evidence.

    Args:
        boundary_HW: (H, W) in [0, 1].
        sigma: Smoothing in pixels; larger gives fewer regions.

    Returns:
        int32 (H, W), values 0..N-1: one region a local minimum or flat place.
    """
    smooth_HW = ndimage.gaussian_filter(boundary_HW, sigma, mode="nearest")
    levels_HW = np.round(smooth_HW * _GREY_LEVELS).astype(np.int32)
    minima_HW = ndimage.minimum_filter(levels_HW, size=3, mode="nearest") == levels_HW
    markers_HW, _ = ndimage.label(minima_HW, structure=np.ones((3, 3)))
    basins_HW = watershed(levels_HW, markers_HW)  # type: ignore[no-untyped-call]
    return np.asarray(basins_HW - 1, dtype=np.int32)


def find_borders(labels_HW: NDArray[np.int32]) -> Borders:
    """The borders between the regions of a label map.

    Example:
        >>> borders = find_borders(np.array([[0, 0, 1], [2, 2, 1]], dtype=np.int32))
        >>> borders.edges_E2.tolist(), borders.length_E.tolist()
        ([[0, 1], [0, 2], [1, 2]], [1.0, 2.0, 1.0])
    """
    pixels_P2 = _pixel_pairs(labels_HW)
    ends_P2 = np.sort(labels_HW.ravel()[pixels_P2].astype(np.int64), axis=1)
    num_labels = int(labels_HW.max()) + 1
    keys_E, edge_P, length_E = np.unique(
        ends_P2[:, 0] * num_labels + ends_P2[:, 1], return_inverse=True, return_counts=True
    )
    edges_E2 = np.stack([keys_E // num_labels, keys_E % num_labels], axis=1).astype(np.int32)
    return Borders(edges_E2, pixels_P2, edge_P, length_E.astype(np.float32))


def normal_orientation(borders: Borders, width: int, num_orientations: int) -> NDArray[np.int64]:
    """The orientation across the border at each of its pixel pairs.

    Measured as the minor axis of the pixels of each piece of a border, so that evidence for an edge of another
    direction, such as texture that runs across a border, does not count (Arbelaez et al. 2011, oriented watershed).

    Args:
        borders: Borders of a label map.
        width: Of that map, in pixels.
        num_orientations: O.

    Returns:
        int64 (P,) below O, as :mod:`dico.features.gradients` numbers them.
    """
    y_P2, x_P2 = np.divmod(borders.pixels_P2, width)
    y_P, x_P = y_P2.mean(axis=1), x_P2.mean(axis=1)
    if not len(y_P):
        return np.zeros(0, dtype=np.int64)
    cells = (y_P // _PIECE).astype(np.int64) * (width // _PIECE + 1) + (x_P // _PIECE).astype(np.int64)
    _, piece_P = np.unique(borders.edge_P * (cells.max() + 1) + cells, return_inverse=True)
    count = np.bincount(piece_P)

    def total(values_P: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(piece_P, values_P).astype(np.float64)

    from_y, from_x = y_P - (total(y_P) / count)[piece_P], x_P - (total(x_P) / count)[piece_P]
    tangent = 0.5 * np.arctan2(2 * total(from_x * from_y), total(from_x**2) - total(from_y**2))
    straight = np.arctan2(total(np.abs(np.diff(y_P2)[:, 0])), total(np.abs(np.diff(x_P2)[:, 0])))
    normal = np.where(count < _SHORT, straight, tangent + np.pi / 2)
    return (np.round(normal / np.pi * num_orientations).astype(np.int64) % num_orientations)[piece_P]


def label_histograms(
    labels_HW: NDArray[np.int32], words_HW: NDArray[np.integer], num_words: int
) -> NDArray[np.float64]:
    """float64 (N, num_words): the share of each word among the pixels of each label; rows sum to 1."""
    num_labels = int(labels_HW.max()) + 1
    keys = labels_HW.ravel().astype(np.int64) * num_words + words_HW.ravel()
    counts_NW = np.bincount(keys, minlength=num_labels * num_words).reshape(num_labels, num_words)
    return np.asarray(counts_NW / counts_NW.sum(axis=1, keepdims=True))


@numba.njit(cache=True)
def _pixel_pairs(labels_HW: NDArray[np.int32]) -> NDArray[np.int64]:
    """int64 (P, 2): flat indices of neighbouring pixels of different labels, in reading order."""
    height, width = labels_HW.shape
    pairs_P2 = np.empty((2 * height * width, 2), dtype=np.int64)
    found = 0
    for y in range(height):
        for x in range(width):
            for dy in range(2):
                y1, x1 = y + dy, x + 1 - dy
                if y1 < height and x1 < width and labels_HW[y, x] != labels_HW[y1, x1]:
                    pairs_P2[found, 0], pairs_P2[found, 1] = y * width + x, y1 * width + x1
                    found += 1
    return pairs_P2[:found].copy()

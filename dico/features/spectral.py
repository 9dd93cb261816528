"""Spectral cues: what the eigenvectors of the graph of superpixels say of its borders (Arbelaez et al., 2011).

Local evidence cannot tell a line of texture from the outline of an object. The eigenvectors of the normalised cut are
smooth inside of what boundaries enclose, so they jump where boundaries close.

Axes: N nodes, E edges, K eigenvectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from dico.ncut import smallest_eigenvectors

_NUM_VECTORS = 16
_SIGMA = 0.1  # boundary strength at which the affinity has fallen to 1 / e
_MOST = 2.0  # times the 99th percentile; few borders are more


def spectral_embedding(
    edges_E2: NDArray[np.int32], strength_E: NDArray[np.floating], length_E: NDArray[np.floating], num_nodes: int
) -> NDArray[np.float64]:
    """Where each region lies in the eigenvectors of the normalised cut.

    Two regions that share a border are joined by its length times exp(-strength / 0.1).

    Args:
        edges_E2: int32 (E, 2), pairs of regions that touch.
        strength_E: (E,) boundary evidence in [0, 1].
        length_E: (E,) positive.
        num_nodes: N.

    Returns:
        float64 (N, K): up to 16 eigenvectors, each scaled to a largest magnitude of 1 and divided by the square root of
        its eigenvalue, so that the cheaper a cut is, the more its vector counts. K is 0 for fewer than three regions.
    """
    if num_nodes < 3:
        return np.zeros((num_nodes, 0))
    joined_E = np.exp(-np.asarray(strength_E, dtype=np.float64) / _SIGMA) * length_E
    one_way = coo_array((joined_E, (edges_E2[:, 0], edges_E2[:, 1])), shape=(num_nodes, num_nodes)).tocsr()
    values_K, vectors_NK = smallest_eigenvectors(csr_array(one_way + one_way.T), min(_NUM_VECTORS, num_nodes - 1))
    scale_K = np.abs(vectors_NK).max(axis=0) * np.sqrt(np.maximum(values_K, 1e-9))
    return np.asarray(vectors_NK / scale_K)


def spectral_strength(edges_E2: NDArray[np.int32], embedding_NK: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (E,) in [0, 2]: how far apart the embedding puts the two sides of each edge; few exceed 1."""
    jumps_E = np.abs(embedding_NK[edges_E2[:, 0]] - embedding_NK[edges_E2[:, 1]]).sum(axis=1)
    usual = float(np.percentile(jumps_E, 99)) if len(jumps_E) else 0.0
    return np.minimum(jumps_E / usual, _MOST) if usual > 0 else np.zeros(len(edges_E2))

"""The region graph of a plain grid: every cell a node, joined to the cells above, below, left and right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dico.features.base import RegionGraph


def grid_graph(feats_hwC: NDArray[np.float32]) -> RegionGraph:
    """The graph of a grid of features with its 4-neighbours and no boundary evidence.

    Args:
        feats_hwC: float32 (h, w, C), at least one cell.

    Returns:
        A RegionGraph of h x w nodes, numbered row by row.

    Raises:
        ValueError: when the array does not have three axes or has no cell.

    Example:
        >>> grid_graph(np.zeros((2, 2, 1), dtype=np.float32)).edges_E2.tolist()
        [[0, 1], [0, 2], [1, 3], [2, 3]]
    """
    if feats_hwC.ndim != 3 or not feats_hwC.shape[0] * feats_hwC.shape[1]:
        raise ValueError(f"feats_hwC must have three axes (h, w, C) and a cell, got shape {feats_hwC.shape}")
    height, width, channels = feats_hwC.shape
    cells_hw = np.arange(height * width, dtype=np.int32).reshape(height, width)
    across_E2 = np.stack([cells_hw[:, :-1].ravel(), cells_hw[:, 1:].ravel()], axis=1)
    down_E2 = np.stack([cells_hw[:-1].ravel(), cells_hw[1:].ravel()], axis=1)
    edges_E2 = np.concatenate([across_E2, down_E2])
    return RegionGraph(
        labels_hw=cells_hw,
        edges_E2=edges_E2[np.lexsort((edges_E2[:, 1], edges_E2[:, 0]))],
        feats_NC=feats_hwC.reshape(-1, channels),
        sizes_N=np.ones(height * width, dtype=np.int64),
    )

"""Pooling: the regions of several merge trees over the same leaves, ranked by how well they stand for all of them.

No single way of merging is right for every object, and what many ways agree on is more likely an object. So regions of
several trees vote: each has a prior, and is satisfied by a chosen region to the degree that they overlap. Greedy choice
of the region that adds most satisfaction (facility location: submodular, so greedy is within 1 - 1/e of the best) gives
an order in which near-copies come late and every prefix is a good set of masks of its size.

Axes: N leaves, K regions, E edges between leaves, X pairs of regions that overlap.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from dico.config import PoolConfig
from dico.features.base import RegionGraph
from dico.merge_tree import MergeTree


@dataclass(frozen=True, eq=False)
class Pool:
    """Regions as sets of leaves, in compressed rows.

    Attributes:
        indptr: int64 (K + 1,): region k holds ``leaves[indptr[k]:indptr[k + 1]]``.
        leaves: int32, the leaves of all regions, one region after the other.
        height_K: float64 (K,) in [0, 1]: how dissimilar, in its own tree, a region is from what it is merged with;
            1 is the last merge of the tree.
        alive_K: int64 (K,), at least 1: how many regions there were in its tree when it came to be; 1 for the root, the
            number of leaves for a leaf. Unlike heights, counts mean the same in every tree and every image.
    """

    indptr: NDArray[np.int64]
    leaves: NDArray[np.int32]
    height_K: NDArray[np.float64]
    alive_K: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.height_K)

    def take(self, regions: NDArray[np.integer]) -> Pool:
        """The pool of some of its regions, in the order given."""
        parts = [self.leaves[self.indptr[k] : self.indptr[k + 1]] for k in regions]
        indptr = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)])
        leaves = np.concatenate([np.zeros(0, dtype=np.int32), *parts])
        return Pool(indptr.astype(np.int64), leaves, self.height_K[regions], self.alive_K[regions])

    @classmethod
    def concat(cls, pools: Sequence[Pool]) -> Pool:
        """The regions of several pools over the same leaves, in order."""
        offsets = np.cumsum([0] + [len(pool.leaves) for pool in pools])
        indptr = [pool.indptr[:-1] + offset for pool, offset in zip(pools, offsets, strict=False)]
        return cls(
            np.concatenate([*indptr, offsets[-1:]]),
            np.concatenate([pool.leaves for pool in pools]),
            np.concatenate([pool.height_K for pool in pools]),
            np.concatenate([pool.alive_K for pool in pools]),
        )


def pool_of_tree(tree: MergeTree, config: PoolConfig) -> Pool:
    """The most persistent regions of a tree.

    Args:
        tree: Merges down to few regions.
        config: ``regions_per_tree`` and ``min_cells``.

    Returns:
        The regions by falling persistence, of equals the finer first.
    """
    num_leaves = tree.num_leaves
    dissimilarity_M = 1 - tree.height_M.astype(np.float64)
    last = float(dissimilarity_M[-1]) if len(dissimilarity_M) else 0.0
    born_T = np.concatenate([np.zeros(num_leaves), dissimilarity_M])
    born_T = np.clip(born_T / last, 0, 1) if last > 0 else np.zeros_like(born_T)
    gone_T = np.where(tree.parent_T >= 0, born_T[tree.parent_T], 1.0)
    order = np.argsort(born_T - gone_T, kind="stable")
    nodes = order[tree.sizes_T[order] >= config.min_cells][: config.regions_per_tree]
    alive_T = np.minimum(num_leaves, 2 * num_leaves - 1 - np.arange(len(born_T)))  # each merge makes two into one
    return Pool(*tree.members(nodes), gone_T[nodes], alive_T[nodes])


def priors(pool: Pool, graph: RegionGraph, config: PoolConfig) -> NDArray[np.float64]:
    """How likely each region is worth a mask, before it is compared with others.

    The product of four cues, each to a power: its height in its tree; the mean boundary strength along its border with
    other regions (1 where the graph has no strength); its compactness, which is its area beside that of a circle with
    its outline; and its share of the image, as small regions are many and few of them are objects.

    Args:
        pool: K regions.
        graph: Whose leaves they are made of.
        config: The powers.

    Returns:
        float64 (K,), at least 0.
    """
    num_edges = len(graph.edges_E2)
    length_E = np.ones(num_edges) if graph.length_E is None else graph.length_E.astype(np.float64)
    strength_E = np.ones(num_edges) if graph.strength_E is None else graph.strength_E.astype(np.float64)
    rows = _neighbours(graph.edges_E2, len(graph.sizes_N))
    strength_K, border_K = _borders(pool.indptr, pool.leaves, *rows, strength_E * length_E, length_E).T
    area_K = _sums(pool, graph.sizes_N)
    contrast_K = strength_K / np.maximum(border_K, 1e-9)
    outline_K = border_K + _sums(pool, _image_border(graph))
    compactness_K = np.minimum(1.0, 4 * np.pi * area_K / np.maximum(outline_K, 1e-9) ** 2)
    cues = (
        (pool.height_K, config.height_power),
        (contrast_K, config.contrast_power),
        (compactness_K, config.compactness_power),
        (area_K / graph.sizes_N.sum(), config.size_power),
    )
    return np.asarray(np.prod([cue_K**power for cue_K, power in cues], axis=0))


def rank_regions(
    pool: Pool, graph: RegionGraph, prior_K: NDArray[np.float64], config: PoolConfig
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The regions that stand best for all regions, the best first.

    Region r is satisfied by a chosen region s to the degree (IoU(r, s) - min_iou) / (1 - min_iou); each choice is the
    region that adds most to the sum of priors times satisfaction. Ties go to the earlier region.

    Args:
        pool: K regions.
        graph: Whose leaves they are made of.
        prior_K: float64 (K,), at least 0.
        config: ``max_regions`` (fewer when nothing is left that adds anything) and ``min_iou``.

    Returns:
        int64 (R,) regions, and float64 (R,) what each added; falling.
    """
    area_K = _sums(pool, graph.sizes_N)
    num_leaves = len(graph.sizes_N)
    holder = np.repeat(np.arange(len(pool), dtype=np.int32), np.diff(pool.indptr))
    by_leaf = np.argsort(pool.leaves, kind="stable")
    leaf_indptr = np.concatenate([[0], np.cumsum(np.bincount(pool.leaves, minlength=num_leaves))])
    sizes_N = graph.sizes_N.astype(np.float64)
    pairs = _overlaps(pool.indptr, pool.leaves, leaf_indptr, holder[by_leaf], sizes_N, area_K, config.min_iou)
    return _greedy(*pairs, prior_K, min(config.max_regions, len(pool)))


def _sums(pool: Pool, values_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """float64 (K,): the sum of a value of the leaves over each region."""
    sums = np.concatenate([[0.0], np.cumsum(values_N[pool.leaves], dtype=np.float64)])
    return np.asarray(sums[pool.indptr[1:]] - sums[pool.indptr[:-1]])


def _image_border(graph: RegionGraph) -> NDArray[np.int64]:
    """int64 (N,): how much of the image's border each leaf holds, in cells."""
    labels_hw = graph.labels_hw
    sides = np.concatenate([labels_hw[0], labels_hw[-1], labels_hw[:, 0], labels_hw[:, -1]])
    return np.bincount(sides, minlength=len(graph.sizes_N))


def _neighbours(
    edges_E2: NDArray[np.int32], num_leaves: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The edges at each leaf in compressed rows: where rows begin, the leaf across, the edge."""
    near, across = edges_E2.T.ravel(), edges_E2[:, ::-1].T.ravel()
    order = np.argsort(near, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(near, minlength=num_leaves))])
    return indptr, across[order].astype(np.int64), order % max(1, len(edges_E2))


@numba.njit(cache=True)
def _borders(
    indptr: NDArray[np.int64],
    leaves: NDArray[np.int32],
    row_N: NDArray[np.int64],
    across: NDArray[np.int64],
    edge: NDArray[np.int64],
    first_E: NDArray[np.float64],
    second_E: NDArray[np.float64],
) -> NDArray[np.float64]:
    """float64 (K, 2): the sums of two values of the edges over each region's border with others."""
    sums_K2 = np.zeros((len(indptr) - 1, 2))
    inside_N = np.full(len(row_N) - 1, -1, dtype=np.int64)
    for k in range(len(sums_K2)):
        for i in range(indptr[k], indptr[k + 1]):
            inside_N[leaves[i]] = k
        for i in range(indptr[k], indptr[k + 1]):
            for j in range(row_N[leaves[i]], row_N[leaves[i] + 1]):
                if inside_N[across[j]] != k:
                    sums_K2[k, 0] += first_E[edge[j]]
                    sums_K2[k, 1] += second_E[edge[j]]
    return sums_K2


@numba.njit(cache=True)
def _overlaps(
    indptr: NDArray[np.int64],
    leaves: NDArray[np.int32],
    leaf_indptr: NDArray[np.int64],
    holders: NDArray[np.int32],
    sizes_N: NDArray[np.float64],
    area_K: NDArray[np.float64],
    min_iou: float,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Pairs of regions whose IoU exceeds ``min_iou``, in compressed rows, with their degree of satisfaction."""
    num_regions = len(area_K)
    shared_K = np.zeros(num_regions)
    touched = np.empty(num_regions, dtype=np.int32)
    rows = np.zeros(num_regions + 1, dtype=np.int64)
    capacity = 16 * num_regions
    columns, degrees = np.empty(capacity, dtype=np.int32), np.empty(capacity)
    for k in range(num_regions):
        num_touched, filled = 0, rows[k]
        for i in range(indptr[k], indptr[k + 1]):
            size = sizes_N[leaves[i]]
            for h in range(leaf_indptr[leaves[i]], leaf_indptr[leaves[i] + 1]):
                other = holders[h]
                if shared_K[other] == 0:
                    touched[num_touched] = other
                    num_touched += 1
                shared_K[other] += size
        if filled + num_touched > capacity:
            capacity = 2 * (filled + num_touched)
            columns = np.concatenate((columns[:filled], np.empty(capacity - filled, dtype=np.int32)))
            degrees = np.concatenate((degrees[:filled], np.empty(capacity - filled)))
        for t in range(num_touched):
            other = touched[t]
            iou = shared_K[other] / (area_K[k] + area_K[other] - shared_K[other])
            shared_K[other] = 0
            if iou > min_iou:
                columns[filled], degrees[filled] = other, (iou - min_iou) / (1 - min_iou)
                filled += 1
        rows[k + 1] = filled
    return rows, columns[: rows[-1]], degrees[: rows[-1]]


@numba.njit(cache=True)
def _greedy(
    rows: NDArray[np.int64],
    columns: NDArray[np.int32],
    degrees: NDArray[np.float64],
    prior_K: NDArray[np.float64],
    max_regions: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Lazy greedy choice (Minoux 1978): what a region adds only falls, so an old value is an upper bound."""
    satisfied_K = np.zeros(len(prior_K))
    heap = [(-_adds(rows, columns, degrees, prior_K, satisfied_K, k), k) for k in range(len(prior_K))]
    heapq.heapify(heap)
    chosen, added = np.empty(max_regions, dtype=np.int64), np.empty(max_regions)
    for r in range(max_regions):
        while True:
            bound, best = heap[0]
            now = _adds(rows, columns, degrees, prior_K, satisfied_K, best)
            if now >= -bound:
                break
            heapq.heapreplace(heap, (-now, best))
        if now <= 0:
            return chosen[:r], added[:r]
        heapq.heappop(heap)
        chosen[r], added[r] = best, now
        for i in range(rows[best], rows[best + 1]):
            satisfied_K[columns[i]] = max(satisfied_K[columns[i]], degrees[i])
    return chosen, added


@numba.njit(cache=True)
def _adds(
    rows: NDArray[np.int64],
    columns: NDArray[np.int32],
    degrees: NDArray[np.float64],
    prior_K: NDArray[np.float64],
    satisfied_K: NDArray[np.float64],
    region: int,
) -> float:
    """How much satisfaction a region would add."""
    adds = 0.0
    for i in range(rows[region], rows[region + 1]):
        adds += prior_K[columns[i]] * max(0.0, degrees[i] - satisfied_K[columns[i]])
    return adds

"""MergeTree: what merging did, in order; every granularity is a cut through it.

Axes: N leaves (the regions merging began with), M merges, T = N + M nodes, K chosen nodes. Merge m made node N + m.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

NO_PARENT = -1


@dataclass(frozen=True, eq=False)
class MergeTree:
    """The merges of a region graph, in order: a forest whose leaves are the regions.

    Attributes:
        children_M2: int32 (M, 2): the nodes that merge m joined; the first holds the smaller leaf.
        similarity_M: float32 (M,): how similar they were; not monotone, as a sum can be more like a third region than
            its terms were.
        parent_T: int32 (T,): the node that each node went into, or -1.
        sizes_T: int64 (T,): the number of grid cells of each node.
    """

    children_M2: NDArray[np.int32]
    similarity_M: NDArray[np.float32]
    parent_T: NDArray[np.int32]
    sizes_T: NDArray[np.int64]

    @classmethod
    def from_pairs(
        cls, pairs_M2: NDArray[np.int32], similarity_M: NDArray[np.float32], sizes_N: NDArray[np.int64]
    ) -> MergeTree:
        """The tree of merges that are given by clusters, where a cluster goes by its smallest leaf.

        Args:
            pairs_M2: int32 (M, 2): the clusters of each merge, smaller first.
            similarity_M: float32 (M,): their similarity.
            sizes_N: int64 (N,): the number of grid cells of each leaf.

        Returns:
            The tree.

        Example:
            >>> tree = MergeTree.from_pairs(np.array([[1, 2], [0, 1]]), np.array([0.9, 0.3]), np.ones(3, int))
            >>> tree.children_M2.tolist(), tree.parent_T.tolist(), tree.sizes_T.tolist()
            ([[1, 2], [0, 3]], [4, 3, 3, 4, -1], [1, 1, 1, 2, 3])
        """
        children_M2, parent_T, sizes_T = _link(
            np.ascontiguousarray(pairs_M2, dtype=np.int32), np.ascontiguousarray(sizes_N, dtype=np.int64)
        )
        return cls(children_M2, np.asarray(similarity_M, dtype=np.float32), parent_T, sizes_T)

    @property
    def num_leaves(self) -> int:
        """N."""
        return len(self.sizes_T) - len(self.children_M2)

    @cached_property
    def height_M(self) -> NDArray[np.float32]:
        """float32 (M,), falling: the lowest similarity up to each merge, which is the threshold that lets it happen."""
        return np.minimum.accumulate(self.similarity_M) if len(self.similarity_M) else self.similarity_M

    def merges_until(self, theta: float) -> int:
        """How many merges happen before the best pair is less similar than ``theta`` (compared as float32)."""
        return int(np.searchsorted(-self.height_M, -np.float32(theta), side="right"))

    def alive(self, merges: int) -> NDArray[np.int64]:
        """int64 (K,): the nodes that stand for the clusters after so many merges, ordered by their smallest leaf.

        Raises:
            ValueError: when ``merges`` is negative or more than there are.
        """
        if not 0 <= merges <= len(self.children_M2):
            raise ValueError(f"merges must be within 0..{len(self.children_M2)}, got {merges}")
        born = self.num_leaves + merges
        parent_t = self.parent_T[:born]
        nodes = np.flatnonzero((parent_t == NO_PARENT) | (parent_t >= born))
        return nodes[np.argsort(self._smallest_leaf(nodes))]

    def labels(self, merges: int) -> NDArray[np.int32]:
        """int32 (N,): which of :meth:`alive` each leaf is in after so many merges: 0, 1, ... by smallest leaf.

        Raises:
            ValueError: as :meth:`alive`.

        Example:
            >>> tree = MergeTree.from_pairs(np.array([[0, 2], [0, 1]]), np.array([0.9, 0.3]), np.ones(3, int))
            >>> tree.labels(tree.merges_until(0.5)).tolist()
            [0, 1, 0]
        """
        nodes = self.alive(merges)
        indptr, leaves = self.members(nodes)
        labels_N = np.empty(self.num_leaves, dtype=np.int32)
        labels_N[leaves] = np.repeat(np.arange(len(nodes), dtype=np.int32), np.diff(indptr))
        return labels_N

    def members(self, nodes: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The leaves of each of K nodes, in compressed rows.

        Args:
            nodes: (K,) nodes of the tree.

        Returns:
            ``indptr`` int64 (K + 1,) and ``leaves`` int32: node k holds ``leaves[indptr[k]:indptr[k + 1]]``.

        Example:
            >>> tree = MergeTree.from_pairs(np.array([[0, 2], [0, 1]]), np.array([0.9, 0.3]), np.ones(3, int))
            >>> [part.tolist() for part in tree.members(np.array([1, 3]))]
            [[0, 1, 3], [1, 0, 2]]
        """
        order_N, first_T, count_T = self._ranges
        count_K = count_T[nodes]
        indptr = np.concatenate([[0], np.cumsum(count_K)])
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], count_K)
        return indptr, order_N[np.repeat(first_T[nodes], count_K) + within]

    def persistence(self, nodes: NDArray[np.integer]) -> NDArray[np.float64]:
        """float64 (K,) in [0, 1]: the span of thresholds in [0, 1] at which each of K nodes stands for a cluster.

        Example:
            >>> tree = MergeTree.from_pairs(np.array([[0, 2], [0, 1]]), np.array([0.75, 0.25]), np.ones(3, int))
            >>> tree.persistence(np.array([0, 3, 4])).tolist()
            [0.25, 0.5, 0.25]
        """
        # The last entry stands for "never": leaves are there from the start, and roots stay.
        height = np.clip(np.append(self.height_M.astype(np.float64), 0.0), 0.0, 1.0)
        parents = self.parent_T[nodes]
        born = np.where(nodes < self.num_leaves, 1.0, height[np.maximum(nodes - self.num_leaves, -1)])
        gone = height[np.where(parents == NO_PARENT, -1, parents - self.num_leaves)]
        return np.asarray(born - gone)

    def nearest_ancestor(self, nodes: NDArray[np.integer]) -> NDArray[np.int32]:
        """int32 (K,): for each of K nodes, which of them is its closest ancestor (an index into ``nodes``), or -1.

        Example:
            >>> tree = MergeTree.from_pairs(np.array([[0, 2], [0, 1]]), np.array([0.9, 0.3]), np.ones(3, int))
            >>> tree.nearest_ancestor(np.array([4, 0, 1])).tolist()
            [-1, 0, 0]
        """
        chosen_T = np.full(len(self.parent_T), NO_PARENT, dtype=np.int32)
        chosen_T[nodes] = np.arange(len(nodes))
        return np.asarray(_chosen_above(self.parent_T, chosen_T)[nodes])

    def _smallest_leaf(self, nodes: NDArray[np.integer]) -> NDArray[np.int32]:
        order_N, first_T, _ = self._ranges
        return np.asarray(order_N[first_T[nodes]])

    @cached_property
    def _ranges(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Leaves in an order in which every node's are consecutive, its smallest first; where they begin; how many."""
        order_N, first_T, count_T = _leaf_ranges(self.children_M2, self.parent_T)
        return order_N, first_T, count_T


@numba.njit(cache=True)
def _link(
    pairs_M2: NDArray[np.int32], sizes_N: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    num_leaves, num_merges = len(sizes_N), len(pairs_M2)
    children_M2 = np.empty_like(pairs_M2)
    parent_T = np.full(num_leaves + num_merges, NO_PARENT, dtype=np.int32)
    sizes_T = np.empty(num_leaves + num_merges, dtype=np.int64)
    sizes_T[:num_leaves] = sizes_N
    node_N = np.arange(num_leaves).astype(np.int32)  # the node that stands for the cluster of this smallest leaf
    for m in range(num_merges):
        node = num_leaves + m
        for side in range(2):
            child = node_N[pairs_M2[m, side]]
            children_M2[m, side], parent_T[child] = child, node
        sizes_T[node] = sizes_T[children_M2[m, 0]] + sizes_T[children_M2[m, 1]]
        node_N[pairs_M2[m, 0]] = node
    return children_M2, parent_T, sizes_T


@numba.njit(cache=True)
def _chosen_above(parent_T: NDArray[np.int32], chosen_T: NDArray[np.int32]) -> NDArray[np.int32]:
    above_T = np.full_like(chosen_T, NO_PARENT)
    for node in range(len(parent_T) - 1, -1, -1):  # parents come after their children
        parent = parent_T[node]
        if parent != NO_PARENT:
            above_T[node] = chosen_T[parent] if chosen_T[parent] != NO_PARENT else above_T[parent]
    return above_T


@numba.njit(cache=True)
def _leaf_ranges(
    children_M2: NDArray[np.int32], parent_T: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    num_nodes = len(parent_T)
    num_leaves = num_nodes - len(children_M2)
    count_T = np.ones(num_nodes, dtype=np.int64)
    for m in range(len(children_M2)):
        count_T[num_leaves + m] = count_T[children_M2[m, 0]] + count_T[children_M2[m, 1]]
    first_T = np.empty(num_nodes, dtype=np.int64)
    order_N = np.empty(num_leaves, dtype=np.int32)
    placed = 0
    for node in range(num_nodes - 1, -1, -1):
        if parent_T[node] == NO_PARENT:
            first_T[node] = placed
            placed += count_T[node]
        if node < num_leaves:
            order_N[first_T[node]] = node
        else:
            left, right = children_M2[node - num_leaves, 0], children_M2[node - num_leaves, 1]
            first_T[left] = first_T[node]
            first_T[right] = first_T[node] + count_T[left]
    return order_N, first_T, count_T

"""Iterative merging: the most similar neighbouring regions become one, until nothing similar is left.

Axes: N nodes of the graph, E edges, C channels, M merges. Edge e has the half-edges h = 2e and 2e + 1, each in the list
of the cluster it hangs from; h ^ 1 is the other half. A cluster goes by its smallest node.

A merge of the published method recomputes every similarity of the new cluster and then looks through all pairs. Here
the best pair wins a tournament over the edges, and a similarity is computed only when its edge wins: until then an
upper bound stands for it. For a neighbour c of a, the triangle inequality of angles gives
angle(a + b, c) >= angle(a, c) - angle(a, a + b), and a large cluster hardly turns when it takes in a small one. Bounds
decide what is computed, never what is merged: the result is that of the loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dico.config import Linkage
from dico.features.base import RegionGraph
from dico.merge_tree import MergeTree
from dico.tournament import Tournament, play, replay

_PUBLISHED = Linkage()
_ROUNDING = 1e-7  # more than a sine can lose: the square root of the rounding of a cosine near 1


def merge_regions(graph: RegionGraph, linkage: Linkage = _PUBLISHED, *, stop: float = -np.inf) -> MergeTree:
    """The regions of a graph merged pair by pair, the most similar neighbours first.

    The similarity of two neighbouring clusters is::

        1 - (feature_weight * (1 - cosine) + boundary_weight * strength) * smaller ** size_power

    of the cosine of their feature sums (0 where a sum is 0), the mean boundary strength along their border, weighted by
    length, and the share of all grid cells that the smaller one holds. It is rounded to float32: what is equal in exact
    arithmetic then ties on any machine, and of ties the smaller pair merges first.

    Args:
        graph: The regions to start from.
        linkage: The weights and the power; by default the published rule, where the similarity is the cosine.
        stop: Merging ends when no pair is at least this similar. The default ends with one cluster per connected part.

    Returns:
        The tree of all merges, in order.

    Raises:
        ValueError: when the arrays of ``graph`` do not fit together, an edge is not sorted or comes twice, a size is
            not positive, or a feature is not finite (unless its weight is 0).

    Example:
        >>> from dico.features.graph import grid_graph
        >>> feats_hwC = np.array([[[1, 0], [1, 0], [0, 1]]], dtype=np.float32)
        >>> merge_regions(grid_graph(feats_hwC)).similarity_M.round(2).tolist()
        [1.0, 0.0]
    """
    _check(graph)
    # Features that weigh nothing are left out: without channels every cosine is 0, and costs nothing.
    feats_NC = graph.feats_NC if linkage.feature_weight else graph.feats_NC[:, :0]
    sums_NC = np.empty(feats_NC.shape)  # made here because NumPy asks for huge pages, and numba does not
    norms_N = _fill_sums(np.ascontiguousarray(feats_NC, dtype=np.float32), graph.sizes_N, sums_NC)
    if not np.isfinite(norms_N).all():
        raise ValueError("graph.feats_NC must be finite, got NaN or infinity")
    num_edges = len(graph.edges_E2)
    length_E = np.ones(num_edges) if graph.length_E is None else graph.length_E.astype(np.float64)
    strength_E = np.zeros(num_edges) if graph.strength_E is None else graph.strength_E * length_E
    edges_E2 = np.ascontiguousarray(graph.edges_E2, dtype=np.int32)
    pairs_M2, similarity_M = _merge(
        sums_NC,
        norms_N,
        graph.sizes_N.astype(np.float64),
        edges_E2,
        linkage.boundary_weight * strength_E,
        length_E,
        linkage.feature_weight,
        linkage.size_power,
        np.float32(stop),
    )
    return MergeTree.from_pairs(pairs_M2, similarity_M, graph.sizes_N)


def _check(graph: RegionGraph) -> None:
    num_nodes, edges_E2 = len(graph.feats_NC), graph.edges_E2
    if num_nodes < 1 or graph.feats_NC.ndim != 2 or graph.sizes_N.shape != (num_nodes,):
        raise ValueError(
            f"graph must have a node, and a row of feats_NC and an entry of sizes_N for each, "
            f"got shapes {graph.feats_NC.shape} and {graph.sizes_N.shape}"
        )
    if graph.sizes_N.min() < 1:
        raise ValueError(f"graph.sizes_N must be positive, got {graph.sizes_N.min()}")
    for name in ("strength_E", "length_E"):
        values_E = getattr(graph, name)
        if values_E is not None and values_E.shape != (len(edges_E2),):
            raise ValueError(f"graph.{name} must have one entry per edge ({len(edges_E2)}), got shape {values_E.shape}")
    if len(edges_E2):
        first_E, second_E = edges_E2.astype(np.int64).T
        in_range = first_E.min() >= 0 and second_E.max() < num_nodes and (first_E < second_E).all()
        if not in_range or (np.diff(first_E * num_nodes + second_E) <= 0).any():
            raise ValueError(f"graph.edges_E2 must be unique sorted pairs a < b of nodes below {num_nodes}")


class _Clusters(NamedTuple):
    sums_NC: NDArray[np.float64]
    norms_N: NDArray[np.float64]
    scale_N: NDArray[np.float64]  # the share of all cells, to the size power
    first_N: NDArray[np.int32]  # the first half-edge of each cluster's list, or -1
    shared_N: NDArray[np.int32]  # the edge from a growing cluster to each of its neighbours; -1 outside of _join


class _Edges(NamedTuple):
    ends_h: NDArray[np.int32]  # the cluster each half-edge hangs from
    next_h: NDArray[np.int32]  # the half-edge after it in that cluster's list, or -1
    alive_E: NDArray[np.bool_]
    exact_E: NDArray[np.bool_]  # whether cosine_E is the cosine, or a bound of it
    cosine_E: NDArray[np.float64]
    strength_E: NDArray[np.float64]  # weighted boundary strength, summed over the border
    length_E: NDArray[np.float64]
    feature_weight: float


@numba.njit(cache=True)
def _merge(
    sums_NC: NDArray[np.float64],
    norms_N: NDArray[np.float64],
    sizes_N: NDArray[np.float64],
    edges_E2: NDArray[np.int32],
    strength_E: NDArray[np.float64],
    length_E: NDArray[np.float64],
    feature_weight: float,
    size_power: float,
    stop: np.float32,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(M, 2) the clusters of each merge, smaller first, and (M,) their similarity. All but the edges is overwritten."""
    num_nodes, num_edges = len(sums_NC), len(edges_E2)
    total, scale_N = sizes_N.sum(), np.empty(num_nodes)
    for a in range(num_nodes):
        scale_N[a] = (sizes_N[a] / total) ** size_power
    first_N, shared_N = np.full(num_nodes, -1, dtype=np.int32), np.full(num_nodes, -1, dtype=np.int32)
    clusters = _Clusters(sums_NC, norms_N, scale_N, first_N, shared_N)
    cosine_E, key_E = np.empty(num_edges), np.empty(num_edges, dtype=np.float32)
    alive_E, exact_E = np.ones(num_edges, dtype=np.bool_), np.ones(num_edges, dtype=np.bool_)
    ends_h, next_h = edges_E2.ravel().copy(), np.full(2 * num_edges, -1, dtype=np.int32)
    edges = _Edges(ends_h, next_h, alive_E, exact_E, cosine_E, strength_E, length_E, feature_weight)
    for e in range(num_edges):
        cosine_E[e] = _cosine(clusters, ends_h[2 * e], ends_h[2 * e + 1])
        key_E[e] = _key(clusters, edges, e)
        for h in range(2 * e, 2 * e + 2):
            next_h[h], first_N[ends_h[h]] = first_N[ends_h[h]], h
    tournament = play(key_E, exact_E, ends_h)

    pairs_M2 = np.empty((num_nodes - 1, 2), dtype=np.int32)
    similarity_M = np.empty(num_nodes - 1, dtype=np.float32)
    merges = 0
    while tournament.best_t[1] >= stop and tournament.best_t[1] > -np.inf:
        best = tournament.winner_t[1]
        a, b = min(ends_h[2 * best], ends_h[2 * best + 1]), max(ends_h[2 * best], ends_h[2 * best + 1])
        if not exact_E[best]:
            cosine_E[best], exact_E[best] = _cosine(clusters, a, b), True
            replay(tournament, best, _key(clusters, edges, best), exact_E, ends_h)
            continue
        pairs_M2[merges, 0], pairs_M2[merges, 1], similarity_M[merges] = a, b, tournament.best_t[1]
        merges += 1
        _drop(edges, tournament, best)
        product = cosine_E[best] * norms_N[a] * norms_N[b]
        sums_NC[a] += sums_NC[b]
        norm = np.sqrt(np.dot(sums_NC[a], sums_NC[a]))
        _join(clusters, edges, tournament, a, b, _turn(norms_N[a], product, norm), _turn(norms_N[b], product, norm))
        norms_N[a] = norm
        sizes_N[a] += sizes_N[b]
        scale_N[a] = (sizes_N[a] / total) ** size_power
        _rate(clusters, edges, tournament, a)
    return pairs_M2[:merges], similarity_M[:merges]


@numba.njit(cache=True)
def _join(
    clusters: _Clusters,
    edges: _Edges,
    tournament: Tournament,
    a: int,
    b: int,
    turn_a: tuple[float, float],
    turn_b: tuple[float, float],
) -> None:
    """Appends the list of b to that of a; where both border on a cluster, b's edge goes into a's."""
    joined, h = -1, clusters.first_N[a]
    while h >= 0:
        following, e = edges.next_h[h], h >> 1
        if edges.alive_E[e]:
            edges.cosine_E[e] = _bound(edges.cosine_E[e], turn_a)
            clusters.shared_N[edges.ends_h[h ^ 1]] = e
            edges.next_h[h], joined = joined, h
        h = following
    h = clusters.first_N[b]
    while h >= 0:
        following, e = edges.next_h[h], h >> 1
        if edges.alive_E[e]:
            edges.cosine_E[e] = _bound(edges.cosine_E[e], turn_b)
            into = clusters.shared_N[edges.ends_h[h ^ 1]]
            if into < 0:
                edges.ends_h[h] = a
                edges.next_h[h], joined = joined, h
            else:
                edges.cosine_E[into] = min(edges.cosine_E[into], edges.cosine_E[e])
                edges.strength_E[into] += edges.strength_E[e]
                edges.length_E[into] += edges.length_E[e]
                _drop(edges, tournament, e)
        h = following
    clusters.first_N[a] = joined


@numba.njit(cache=True)
def _rate(clusters: _Clusters, edges: _Edges, tournament: Tournament, a: int) -> None:
    """Enters the edges of a grown cluster into the tournament anew."""
    h = clusters.first_N[a]
    while h >= 0:
        e, c = h >> 1, edges.ends_h[h ^ 1]
        clusters.shared_N[c] = -1
        # A bound that beats the best pair would win at once: compute it now, while the new sum is in the cache.
        edges.exact_E[e] = _key(clusters, edges, e) >= tournament.best_t[1]
        if edges.exact_E[e]:
            edges.cosine_E[e] = _cosine(clusters, a, c)
        replay(tournament, e, _key(clusters, edges, e), edges.exact_E, edges.ends_h)
        h = edges.next_h[h]


@numba.njit(cache=True)
def _drop(edges: _Edges, tournament: Tournament, e: int) -> None:
    edges.alive_E[e] = False
    replay(tournament, e, -np.inf, edges.exact_E, edges.ends_h)


@numba.njit(cache=True)
def _key(clusters: _Clusters, edges: _Edges, e: int) -> np.float32:
    """The similarity across an edge, or a bound of it: it never falls where the cosine rises, rounding included."""
    scale = min(clusters.scale_N[edges.ends_h[2 * e]], clusters.scale_N[edges.ends_h[2 * e + 1]])
    difference = edges.feature_weight * (1 - edges.cosine_E[e]) + edges.strength_E[e] / edges.length_E[e]
    return np.float32(1 - difference * scale)


@numba.njit(cache=True)
def _fill_sums(
    feats_NC: NDArray[np.float32], sizes_N: NDArray[np.integer], sums_NC: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Writes the feature sums of single nodes and returns their norms."""
    norms_N = np.empty(len(feats_NC))
    for a in range(len(feats_NC)):
        for c in range(feats_NC.shape[1]):
            sums_NC[a, c] = np.float64(feats_NC[a, c]) * sizes_N[a]
        norms_N[a] = np.sqrt(np.dot(sums_NC[a], sums_NC[a]))
    return norms_N


@numba.njit(cache=True)
def _cosine(clusters: _Clusters, a: int, b: int) -> float:
    scale = clusters.norms_N[a] * clusters.norms_N[b]
    return float(np.dot(clusters.sums_NC[a], clusters.sums_NC[b]) / scale) if scale != 0 else 0.0


@numba.njit(cache=True)
def _turn(norm_before: float, product: float, norm: float) -> tuple[float, float]:
    """Cosine and sine of the angle between a sum and the sum it became; half a turn, so no bound, where one is 0."""
    if norm_before * norm == 0:
        return -1.0, 0.0
    cosine = min(1.0, max(-1.0, (norm_before**2 + product) / (norm_before * norm)))
    return cosine, np.sqrt(1 - cosine**2) + _ROUNDING


@numba.njit(cache=True)
def _bound(cosine: float, turn: tuple[float, float]) -> float:
    """The most a cosine can be after a turn, when it was at most ``cosine`` before."""
    if cosine >= turn[0]:
        return 1.0
    sine = np.sqrt(max(0.0, 1 - cosine**2)) + _ROUNDING
    return float(min(1.0, cosine * turn[0] + sine * turn[1]))

"""Iterative merging as a loop: all pairs are looked through for every merge, all similarities computed anew."""

import numpy as np

from dico.config import Linkage


def merge_by_loop(graph, linkage=None, *, stop=-np.inf):
    """The merges as a list of ((a, b), similarity); a cluster goes by its smallest node."""
    linkage = linkage or Linkage()
    sizes = dict(enumerate(graph.sizes_N.tolist()))
    total_size = sum(sizes.values())
    sums = dict(enumerate(graph.feats_NC.astype(np.float64) * graph.sizes_N[:, None]))
    neighbours = {a: set() for a in sums}
    borders = {}  # pair -> (strength x length, length)
    lengths = np.ones(len(graph.edges_E2)) if graph.length_E is None else graph.length_E
    strengths = np.zeros(len(graph.edges_E2)) if graph.strength_E is None else graph.strength_E
    for (a, b), length, strength in zip(graph.edges_E2.tolist(), lengths, strengths, strict=True):
        neighbours[a].add(b)
        neighbours[b].add(a)
        borders[a, b] = (float(strength) * float(length), float(length))

    def similarity(a, b):
        scale = np.linalg.norm(sums[a]) * np.linalg.norm(sums[b])
        cosine = sums[a] @ sums[b] / scale if scale else 0.0
        strength, length = borders[a, b]
        difference = linkage.feature_weight * (1 - cosine) + linkage.boundary_weight * strength / length
        return np.float32(1 - difference * (min(sizes[a], sizes[b]) / total_size) ** linkage.size_power)

    similarities = {pair: similarity(*pair) for pair in borders}
    merges = []
    while similarities:
        pair = min(similarities, key=lambda pair: (-similarities[pair], pair))
        if similarities[pair] < np.float32(stop):
            break
        merges.append((pair, similarities[pair]))
        a, b = pair
        sums[a] = sums[a] + sums.pop(b)
        sizes[a] += sizes.pop(b)
        neighbours[b].discard(a)
        neighbours[a].discard(b)
        del similarities[pair], borders[pair]
        for c in neighbours.pop(b):
            old, new = (min(b, c), max(b, c)), (min(a, c), max(a, c))
            del similarities[old]
            before = borders.get(new, (0.0, 0.0))
            added = borders.pop(old)
            borders[new] = (before[0] + added[0], before[1] + added[1])
            neighbours[c].discard(b)
            neighbours[c].add(a)
            neighbours[a].add(c)
        for c in neighbours[a]:
            similarities[min(a, c), max(a, c)] = similarity(min(a, c), max(a, c))
    return merges


def labels_by_loop(num_nodes, merges, theta):
    """The clusters alive when the best similarity first falls below theta, numbered by their smallest node."""
    cluster = np.arange(num_nodes)
    for (a, b), similarity in merges:
        if similarity < np.float32(theta):
            break
        cluster[cluster == b] = a
    return np.unique(cluster, return_inverse=True)[1]

"""The choice of regions as a loop: every region a boolean mask over the leaves, every gain summed anew each time."""

import numpy as np


def masks_of(pool, num_leaves):
    """bool (K, N)."""
    inside_KN = np.zeros((len(pool), num_leaves), dtype=bool)
    for k in range(len(pool)):
        inside_KN[k, pool.leaves[pool.indptr[k] : pool.indptr[k + 1]]] = True
    return inside_KN


def satisfaction_by_loop(inside_KN, sizes_N, min_iou):
    """(K, K): how well each region stands for each other."""
    degree_KK = np.zeros((len(inside_KN), len(inside_KN)))
    for r, one_N in enumerate(inside_KN):
        for s, other_N in enumerate(inside_KN):
            iou = sizes_N[one_N & other_N].sum() / sizes_N[one_N | other_N].sum()
            degree_KK[r, s] = max(0.0, (iou - min_iou) / (1 - min_iou))
    return degree_KK


def total_satisfaction(chosen, degree_KK, prior_K):
    """What a set of regions is worth: of each region the prior, to the degree of its best representative."""
    return sum(
        prior * max((degree_KK[r, s] for s in chosen), default=0.0) for r, prior in enumerate(np.asarray(prior_K))
    )


def greedy_by_loop(degree_KK, prior_K, max_regions):
    """The regions in the order of choice, and what each added; no bounds, no laziness."""
    chosen, gains = [], []
    satisfied_K = np.zeros(len(prior_K))
    while len(chosen) < max_regions:
        best, most = None, 0.0
        for s in range(len(prior_K)):
            gain = 0.0
            for r in range(len(prior_K)):
                gain += prior_K[r] * max(0.0, degree_KK[r, s] - satisfied_K[r])
            if s not in chosen and gain > most:
                best, most = s, gain
        if best is None:
            break
        chosen.append(best)
        gains.append(most)
        satisfied_K = np.maximum(satisfied_K, degree_KK[:, best])
    return chosen, gains


def contrast_by_loop(inside_KN, graph):
    """The mean strength along each region's outline, weighted by length; 0 where it has none."""
    strengths = np.ones(len(graph.edges_E2)) if graph.strength_E is None else graph.strength_E
    lengths = np.ones(len(graph.edges_E2)) if graph.length_E is None else graph.length_E
    contrast = []
    for inside_N in inside_KN:
        strength_sum, length_sum = 0.0, 0.0
        for (a, b), strength, length in zip(graph.edges_E2.tolist(), strengths, lengths, strict=True):
            if inside_N[a] != inside_N[b]:
                strength_sum += float(strength) * float(length)
                length_sum += float(length)
        contrast.append(strength_sum / length_sum if length_sum else 0.0)
    return contrast


def compactness_by_loop(inside_KN, graph):
    """The area of each region beside that of a circle as long around; where it meets the image's border counts too."""
    lengths = np.ones(len(graph.edges_E2)) if graph.length_E is None else graph.length_E
    height, width = graph.labels_hw.shape
    compactness = []
    for inside_N in inside_KN:
        outline = sum(
            float(length)
            for (a, b), length in zip(graph.edges_E2.tolist(), lengths, strict=True)
            if inside_N[a] != inside_N[b]
        )
        for y in range(height):
            for x in range(width):
                sides_at_the_border = (y == 0) + (y == height - 1) + (x == 0) + (x == width - 1)
                outline += sides_at_the_border * inside_N[graph.labels_hw[y, x]]
        compactness.append(min(1.0, 4 * np.pi * graph.sizes_N[inside_N].sum() / outline**2))
    return compactness


def persistence_by_loop(children_M2, height_M, num_leaves):
    """When each node of a tree is born and merged, as shares of the last merge's dissimilarity: two lists."""
    dissimilarity = [1 - float(height) for height in height_M]
    last = dissimilarity[-1] if dissimilarity else 0.0
    share = [min(max(d / last, 0.0), 1.0) if last > 0 else 0.0 for d in dissimilarity]
    born = [0.0] * num_leaves + share
    gone = [1.0] * len(born)
    for m, children in enumerate(children_M2.tolist()):
        for child in children:
            gone[child] = share[m]
    return born, gone

"""MaskCut step by step: a dense solver for every cut, one patch at a time."""

import numpy as np

from dico.ncut import start_vector
from tests.reference.ncut import dense_affinity, second_eigenvectors, separation_by_loop


def maskcut_by_loop(feats_hwC, config):
    """The masks as lists of (row, column), and their scores."""
    height, width, channels = feats_hwC.shape
    affinity_NN = dense_affinity(feats_hwC.reshape(-1, channels), config.tau, config.eps)
    taken, found = set(), []
    for _ in range(config.max_masks):
        nodes = [n for n in range(height * width) if n not in taken]
        if len(nodes) < 2:
            break
        part_NN = affinity_NN[np.ix_(nodes, nodes)]
        _, vectors_NK = second_eigenvectors(part_NN)
        root_N = np.sqrt(part_NN.sum(axis=1))
        start_N = start_vector(height * width)[nodes]
        x_N = vectors_NK @ ((root_N[:, None] * vectors_NK).T @ start_N)
        x = dict(zip(nodes, np.rint(x_N / np.abs(x_N).max() * 2**24), strict=True))
        mean = sum(x.values()) / len(x)
        foreground = {n for n in nodes if x[n] > mean}
        corners = [0, width - 1, (height - 1) * width, height * width - 1]
        strongest = max(nodes, key=lambda n: (abs(x[n]), -n))
        if sum(n in foreground for n in corners) >= 3 or strongest not in foreground:
            foreground, x = set(nodes) - foreground, {n: -v for n, v in x.items()}
        component, front = set(), [max(nodes, key=lambda n: (x[n], -n))]
        while front:
            n = front.pop()
            if n in foreground and n not in component:
                component.add(n)
                row, column = divmod(n, width)
                front += [n - width] * (row > 0) + [n + width] * (row < height - 1)
                front += [n - 1] * (column > 0) + [n + 1] * (column < width - 1)
        score = separation_by_loop(affinity_NN, np.isin(np.arange(height * width), list(component)))
        if score <= config.min_score:
            break
        taken |= component
        if len(component) > config.min_area_frac * height * width:
            found.append((sorted(divmod(n, width) for n in component), score))
    return found

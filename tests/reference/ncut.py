"""The normalised cut by a dense generalised eigen solver, as published code does it."""

import numpy as np
import scipy.linalg

from dico.ncut import start_vector


def dense_affinity(feats_NC, tau, eps):
    return np.where(feats_NC @ feats_NC.T > np.float32(tau), 1.0, eps)


def second_eigenvectors(affinity_NN, *, all_of_them=True):
    """The second-smallest eigenvalue of (D - W) x = lambda D x, and its x (N, multiplicity) with x' D x = 1."""
    degrees_NN = np.diag(affinity_NN.sum(axis=1))
    subset = None if all_of_them else (1, 2)
    values, vectors_NK = scipy.linalg.eigh(degrees_NN - affinity_NN, degrees_NN, subset_by_index=subset)
    if all_of_them:
        values, vectors_NK = values[1:], vectors_NK[:, 1:]
    return values[0], vectors_NK[:, values < values[0] + 1e-9]


def cut_of(affinity_NN, vectors_NK):
    """The vector of an eigenspace that the documented rule takes, scaled and rounded, and which side is above."""
    root_N = np.sqrt(affinity_NN.sum(axis=1))
    x_N = vectors_NK @ ((root_N[:, None] * vectors_NK).T @ start_vector(len(root_N)))
    x_N = np.rint(x_N / np.abs(x_N).max() * 2**24) / 2**24
    return x_N, x_N > x_N.sum() / len(x_N)


def separation_by_loop(affinity_NN, mask_N):
    sums = {"cut": 0.0, "inside": 0.0, "outside": 0.0}
    for a in range(len(mask_N)):
        for b in range(len(mask_N)):
            if a != b:
                kind = "cut" if mask_N[a] and not mask_N[b] else "inside" if mask_N[a] and mask_N[b] else "outside"
                sums[kind] += affinity_NN[a, b] if kind == "cut" or mask_N[a] == mask_N[b] else 0.0
    cut = sums["cut"]
    return max(0.0, 1 - cut / (cut + sums["inside"]) - cut / (cut + sums["outside"]))

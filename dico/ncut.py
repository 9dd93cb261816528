"""Normalised cuts: eigenvectors of (D - W) x = lambda D x, and what they cut.

Axes: N nodes, K eigenvectors. The eigenvalues are those of the symmetric 1 - D^-1/2 W D^-1/2, and x is D^-1/2 times its
eigenvectors (Shi and Malik 2000). The first, x = 1 with lambda = 0, is known and left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, csr_matrix, diags_array, eye_array
from scipy.sparse.linalg import LinearOperator, eigsh, splu

from dico.affinity import BinaryAffinity
from dico.lanczos import largest_eigenpair

_TOL = 1e-12
_STEPS_OF_ONE = 2**24  # entries of a cut's vector are whole multiples of 1 / this
_SHIFT = 1e-6  # makes the singular matrix of smallest_eigenvectors one that has an inverse
_DENSE_BELOW = 200  # nodes; a dense solver is as fast there


@dataclass(frozen=True, eq=False)
class NormalisedCut:
    """The second eigenvector of a graph, and the two sides it makes.

    Attributes:
        eigenvalue: lambda in [0, 2]: what the relaxed cut costs, 0 where the graph falls apart by itself.
        vector_N: float64 (N,) in [-1, 1], the largest magnitude 1, rounded to multiples of 2**-24; 0 on nodes outside
            of the graph. Rounding makes equal what exact arithmetic makes equal: no decision hangs on the solver.
        above_N: bool (N,): nodes of the graph whose entry exceeds the mean of its nodes.
    """

    eigenvalue: float
    vector_N: NDArray[np.float64]
    above_N: NDArray[np.bool_]


def normalised_cut(affinity: BinaryAffinity, active_N: NDArray[np.bool_] | None = None) -> NormalisedCut:
    """The normalised cut of a graph of patches, or of some of them.

    Eigenvectors have no sign, and a multiple eigenvalue has many of them. With y = D^1/2 x, the one taken is that whose
    y is the projection of :func:`start_vector` onto the eigenspace: the same in every run and for every solver.

    Args:
        affinity: The graph.
        active_N: bool (N,): the nodes that take part, at least two; None for all.

    Returns:
        The cut.

    Raises:
        ValueError: when fewer than two nodes take part.
    """
    active_N = np.ones(affinity.num_nodes, dtype=bool) if active_N is None else active_N
    if active_N.sum() < 2:
        raise ValueError(f"active_N must have at least two nodes to cut, got {active_N.sum()}")
    scale_N = np.zeros(affinity.num_nodes)
    degree_N = affinity.product(active_N.astype(np.float64))
    scale_N[active_N] = 1 / np.sqrt(degree_N[active_N])
    first_N = np.where(active_N, np.sqrt(degree_N), 0.0)
    first_N /= np.linalg.norm(first_N)
    start_N = np.where(active_N, start_vector(affinity.num_nodes), 0.0)
    largest, vector_N = largest_eigenpair(
        lambda x_N: scale_N * affinity.product(scale_N * x_N), start_N, first_N, tol=_TOL
    )
    vector_N *= scale_N
    steps_N = np.rint(vector_N * (_STEPS_OF_ONE / np.abs(vector_N).max())).astype(np.int64)
    # In whole numbers, so that an entry that equals the mean is never above it.
    above_N = active_N & (steps_N * int(active_N.sum()) > steps_N.sum())
    return NormalisedCut(1 - largest, steps_N / _STEPS_OF_ONE, above_N)


def smallest_eigenvectors(affinity: csr_array | csr_matrix, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smoothest ways to divide a sparse graph: the k eigenvectors after the constant one.

    Lanczos steps on the inverse, by one sparse factorisation: for a planar graph of some thousand nodes, milliseconds.

    Args:
        affinity: Symmetric (N, N), non-negative, every row with a positive sum.
        k: How many, at most N - 1.

    Returns:
        ``eigenvalues_K`` float64 (K,), rising, and ``vectors_NK`` float64 (N, K): columns x of (D - W) x = lambda D x
        with x' D x = 1. The sign makes the product of D^1/2 x with :func:`start_vector` positive. Of an eigenvalue that
        occurs three times and more, some may be missing.

    Raises:
        ValueError: when ``affinity`` is not square, a row has no positive sum, or ``k`` is not within 1..N - 1.

    Example:
        >>> path = csr_array(np.diag(np.ones(2), 1) + np.diag(np.ones(2), -1))
        >>> eigenvalues_K, vectors_NK = smallest_eigenvectors(path, 2)
        >>> eigenvalues_K.round(9).tolist(), np.abs(vectors_NK[:, 0]).round(3).tolist()
        ([1.0, 2.0], [0.707, 0.0, 0.707])
    """
    num_nodes = affinity.shape[0]
    if affinity.shape != (num_nodes, num_nodes):
        raise ValueError(f"affinity must be square, got shape {affinity.shape}")
    if not 1 <= k < num_nodes:
        raise ValueError(f"k must be within 1..{num_nodes - 1} for {num_nodes} nodes, got {k}")
    degree_N = np.asarray(affinity.sum(axis=1), dtype=np.float64).ravel()
    if not (degree_N > 0).all():
        raise ValueError(f"affinity must have a positive sum in every row, got {degree_N.min()}")
    scale = diags_array(1 / np.sqrt(degree_N))
    laplacian = eye_array(num_nodes) - scale @ csr_array(affinity).astype(np.float64) @ scale
    first_N = np.sqrt(degree_N / degree_N.sum())
    start_N = start_vector(num_nodes)
    if num_nodes < _DENSE_BELOW or k >= num_nodes // 2:
        # The constant vector goes from the one end of the spectrum, [0, 2], beyond the other.
        values_N, vectors_NN = np.linalg.eigh(laplacian.toarray() + 3 * np.outer(first_N, first_N))
        eigenvalues_K, vectors_NK = values_N[:k], vectors_NN[:, :k]
    else:
        eigenvalues_K, vectors_NK = _by_inversion(laplacian.tocsc(), first_N, start_N, k)
    signs_K = np.where(start_N @ vectors_NK < 0, -1.0, 1.0)
    return np.maximum(eigenvalues_K, 0.0), scale @ (vectors_NK * signs_K)


def _by_inversion(
    laplacian: csc_array, first_N: NDArray[np.float64], start_N: NDArray[np.float64], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shifted = laplacian + _SHIFT * eye_array(len(first_N), format="csc")
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def without_first(x_N: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(x_N - first_N * (first_N @ x_N))

    inverse = LinearOperator(
        laplacian.shape, matvec=lambda x_N: without_first(factors.solve(without_first(x_N))), dtype=np.float64
    )
    inverses_K, vectors_NK = eigsh(inverse, k, which="LA", v0=without_first(start_N), tol=_TOL)
    rising = np.argsort(-inverses_K)
    return 1 / inverses_K[rising] - _SHIFT, vectors_NK[:, rising]


def start_vector(num_nodes: int) -> NDArray[np.float64]:
    """float64 (N,) in [-1/2, 1/2): the vector every solve starts from, always the same; it fixes signs too."""
    return np.random.default_rng(0).random(num_nodes) - 0.5


def separation(affinity: BinaryAffinity, mask_N: NDArray[np.bool_]) -> float:
    """How well a part of a graph is cut off from the rest: 1 - Ncut(part, rest), at least 0.

    Ncut is cut / assoc(part) + cut / assoc(rest) (Shi and Malik 2000, Eq. 2): 0 where nothing joins the two, 1 where
    joins are as many as chance makes them. It has no scale, so it compares between images. The affinity of a node to
    itself, which is always 1, is left out of the sums: it would make any lone patch look like an object.

    Args:
        affinity: The graph, of all patches of an image.
        mask_N: bool (N,): the part.

    Returns:
        0..1; 0 for no nodes or all of them.
    """
    inside, outside = int(mask_N.sum()), int((~mask_N).sum())
    if not inside or not outside:
        return 0.0
    to_mask_N = affinity.product(mask_N.astype(np.float64))
    to_rest_N = affinity.product((~mask_N).astype(np.float64))
    cut = to_rest_N[mask_N].sum()
    of_mask = to_mask_N[mask_N].sum() - inside
    of_rest = to_rest_N[~mask_N].sum() - outside
    return float(max(0.0, 1 - cut / (cut + of_mask) - cut / (cut + of_rest)))

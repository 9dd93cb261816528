"""The Lanczos method: the top eigenvector of a symmetric operator from a few dozen of its products.

Axes: N entries of a vector, m steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

_CHECK_EVERY = 5  # steps between looks at the residual


def largest_eigenpair(
    product: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    start_N: NDArray[np.float64],
    excluded_N: NDArray[np.float64],
    *,
    tol: float,
) -> tuple[float, NDArray[np.float64]]:
    """The largest eigenvalue beside a known eigenvector, and the part of ``start_N`` that belongs to it.

    From one start vector the method sees one vector of each eigenspace: the projection of the start vector. So the
    result is unique, sign included, also where the eigenvalue is multiple. Every step is made orthogonal to all before
    it; at N - 1 steps the method has become a dense solver and there is nothing left to converge to, so there is no
    limit of steps to fall back from.

    Args:
        product: The operator: float64 (N,) to float64 (N,), symmetric.
        start_N: Any vector that is not a multiple of ``excluded_N``.
        excluded_N: An eigenvector of unit norm, which is left out.
        tol: Largest norm of the residual, relative to an operator of norm about 1.

    Returns:
        The eigenvalue and an eigenvector of unit norm with a positive product with ``start_N``.

    Raises:
        ValueError: when nothing of ``start_N`` is left beside ``excluded_N``.

    Example:
        >>> scale_N = np.array([3.0, 2.0, 1.0])
        >>> value, vector_N = largest_eigenpair(lambda x: scale_N * x, -np.ones(3), np.array([1.0, 0, 0]), tol=1e-12)
        >>> round(value, 9), vector_N.round(9).tolist()
        (2.0, [0.0, -1.0, 0.0])
    """
    start_N = start_N - excluded_N * (excluded_N @ start_N)
    norm = float(np.linalg.norm(start_N))
    if norm <= tol:
        raise ValueError("start_N must not be a multiple of excluded_N; a graph of one node has no second eigenvector")
    basis_mN = np.empty((32, len(start_N)))
    basis_mN[0] = start_N / norm
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        steps = len(diagonal) + 1
        last_N = basis_mN[steps - 1]
        image_N = product(last_N)
        diagonal.append(float(last_N @ image_N))
        image_N -= diagonal[-1] * last_N
        if beside:
            image_N -= beside[-1] * basis_mN[steps - 2]
        # In exact arithmetic this would change nothing.
        image_N -= excluded_N * (excluded_N @ image_N)
        image_N -= (basis_mN[:steps] @ image_N) @ basis_mN[:steps]
        norm = float(np.linalg.norm(image_N))
        if steps % _CHECK_EVERY == 0 or norm <= tol:
            top = (steps - 1, steps - 1)
            (value,), weights_m1 = eigh_tridiagonal(diagonal, beside, select="i", select_range=top)
            if norm * abs(weights_m1[-1, 0]) <= tol:
                vector_N = weights_m1[:, 0] @ basis_mN[:steps]
                vector_N /= np.copysign(np.linalg.norm(vector_N), weights_m1[0, 0])
                return float(value), vector_N
        beside.append(norm)
        if steps == len(basis_mN):
            basis_mN = np.concatenate([basis_mN, np.empty_like(basis_mN)])
        basis_mN[steps] = image_N / norm

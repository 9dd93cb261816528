import numpy as np
import pytest

from dico.lanczos import largest_eigenpair


def symmetric(values, seed=0):
    """A matrix of these eigenvalues, and its eigenvectors as columns."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return (basis * values) @ basis.T, basis


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_dense_solver(seed):
    matrix, basis = symmetric(np.linspace(-1, 1, 150), seed)
    start = np.random.default_rng(seed).standard_normal(150)
    value, vector = largest_eigenpair(lambda x: matrix @ x, start, basis[:, -1], tol=1e-12)
    assert value == pytest.approx(np.linspace(-1, 1, 150)[-2], abs=1e-12)
    assert vector == pytest.approx(basis[:, -2] * np.sign(basis[:, -2] @ start), abs=1e-9)


@pytest.mark.parametrize("multiplicity", [2, 3, 30])
def test_a_multiple_eigenvalue_gives_the_projection_of_the_start(multiplicity):
    values = np.concatenate([[1.0], np.full(multiplicity, 0.5), np.linspace(-0.5, 0.3, 40)])
    matrix, basis = symmetric(values)
    start = np.random.default_rng(1).standard_normal(len(values))
    value, vector = largest_eigenpair(lambda x: matrix @ x, start, basis[:, 0], tol=1e-12)
    space = basis[:, 1 : 1 + multiplicity]
    projection = space @ (space.T @ start)
    assert value == pytest.approx(0.5)
    assert vector == pytest.approx(projection / np.linalg.norm(projection), abs=1e-9)


def test_a_tiny_gap_is_resolved():
    values = np.concatenate([[1.0, 0.9, 0.9 - 1e-5], np.linspace(-0.5, 0.5, 200)])
    matrix, basis = symmetric(values)
    _, vector = largest_eigenpair(lambda x: matrix @ x, np.ones(len(values)), basis[:, 0], tol=1e-12)
    assert abs(vector @ basis[:, 1]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_small_operators(size):
    matrix, basis = symmetric(np.arange(size, dtype=float) / size)
    value, _ = largest_eigenpair(lambda x: matrix @ x, np.ones(size), basis[:, -1], tol=1e-12)
    assert value == pytest.approx((size - 2) / size)


def test_the_zero_operator():
    value, vector = largest_eigenpair(lambda x: 0 * x, np.array([3.0, 4.0, 5.0]), np.array([0, 0, 1.0]), tol=1e-12)
    assert value == 0 and vector.tolist() == [0.6, 0.8, 0]


def test_nothing_to_start_from_is_refused():
    with pytest.raises(ValueError, match="start_N must not be a multiple"):
        largest_eigenpair(lambda x: x, np.ones(1), np.ones(1), tol=1e-12)

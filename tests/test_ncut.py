import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.sparse import csr_array, csr_matrix

from dico.affinity import binary_affinity
from dico.ncut import normalised_cut, separation, smallest_eigenvectors, start_vector
from tests.reference.ncut import cut_of, dense_affinity, second_eigenvectors, separation_by_loop

TAU, EPS = 0.15, 1e-5


def unit(feats_NC):
    feats_NC = np.asarray(feats_NC, dtype=np.float32)
    return feats_NC / np.maximum(np.linalg.norm(feats_NC, axis=1, keepdims=True), 1e-9)


def blocks(*sizes):
    return np.repeat(np.eye(len(sizes)), sizes, axis=0)


def random_features(seed, num_nodes=150, channels=8):
    return np.random.default_rng(seed).standard_normal((num_nodes, channels))


INPUTS = {
    "random 0": random_features(0),
    "random 1": random_features(1),
    "random, many channels": random_features(2, channels=300),
    "smooth": np.stack([np.sin(np.arange(200) / k) for k in (5, 9, 17)], axis=1),
    "tied": random_features(3, 4)[np.random.default_rng(0).integers(0, 4, 120)],
    "uniform": np.ones((90, 3)),
    "all different": np.eye(40),
    "two blocks": blocks(70, 30),
    "two equal blocks": blocks(50, 50),
    "three blocks": blocks(40, 25, 30),
    "three equal blocks": blocks(30, 30, 30),
    "a block and the rest": np.concatenate([blocks(1, 60), random_features(4, 50, 2)]),
    "two nodes alike": np.ones((2, 1)),
    "two nodes not alike": np.eye(2),
    "three nodes": np.eye(3)[[0, 0, 1]],
    "four nodes": blocks(2, 2),
    "all zero": np.zeros((20, 4)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_equals_the_dense_solver_bit_by_bit(name):
    feats_NC = unit(INPUTS[name])
    dense_NN = dense_affinity(feats_NC, TAU, EPS)
    eigenvalue, vectors_NK = second_eigenvectors(dense_NN)
    expected_N, above_N = cut_of(dense_NN, vectors_NK)
    cut = normalised_cut(binary_affinity(feats_NC, tau=TAU, eps=EPS))
    assert cut.eigenvalue == pytest.approx(eigenvalue, abs=1e-9)
    assert cut.vector_N == pytest.approx(expected_N, abs=2**-23)
    assert np.array_equal(cut.above_N, above_N)


@pytest.mark.parametrize("name", ["random 0", "smooth", "tied", "three blocks"])
def test_part_of_a_graph_equals_the_graph_of_that_part(name):
    feats_NC = unit(INPUTS[name])
    active_N = np.arange(len(feats_NC)) % 3 > 0
    dense_NN = dense_affinity(feats_NC[active_N], TAU, EPS)
    cut = normalised_cut(binary_affinity(feats_NC, tau=TAU, eps=EPS), active_N)
    eigenvalue, vectors_NK = second_eigenvectors(dense_NN)
    assert cut.eigenvalue == pytest.approx(eigenvalue, abs=1e-9)
    assert not cut.vector_N[~active_N].any() and not cut.above_N[~active_N].any()
    if vectors_NK.shape[1] == 1:
        x_N, y_N = cut.vector_N[active_N], vectors_NK[:, 0] / np.abs(vectors_NK).max()
        assert min(np.abs(x_N - y_N).max(), np.abs(x_N + y_N).max()) < 2**-22


def test_two_runs_are_identical():
    affinity = binary_affinity(unit(INPUTS["random 0"]), tau=TAU, eps=EPS)
    first, second = normalised_cut(affinity), normalised_cut(affinity)
    assert first.vector_N.tobytes() == second.vector_N.tobytes() and first.eigenvalue == second.eigenvalue


def test_two_blocks_are_cut_apart():
    cut = normalised_cut(binary_affinity(unit(blocks(70, 30)), tau=TAU, eps=EPS))
    assert len(set(cut.above_N[:70])) == len(set(cut.above_N[70:])) == 1
    assert cut.above_N[0] != cut.above_N[99]


@pytest.mark.parametrize("active_N", [np.zeros(4, dtype=bool), np.arange(4) == 2])
def test_fewer_than_two_nodes_is_refused(active_N):
    affinity = binary_affinity(unit(np.ones((4, 1))), tau=TAU, eps=EPS)
    with pytest.raises(ValueError, match="at least two nodes"):
        normalised_cut(affinity, active_N)


@pytest.mark.parametrize("name", ["random 0", "smooth", "two blocks", "uniform", "all different"])
def test_separation_equals_the_loop(name):
    feats_NC = unit(INPUTS[name])
    mask_N = np.arange(len(feats_NC)) < len(feats_NC) // 2
    expected = separation_by_loop(dense_affinity(feats_NC, TAU, EPS), mask_N)
    assert separation(binary_affinity(feats_NC, tau=TAU, eps=EPS), mask_N) == pytest.approx(expected, abs=1e-9)


def test_separation_is_one_for_a_block_and_zero_without_structure():
    mask_N = np.arange(100) < 70
    assert separation(binary_affinity(unit(blocks(70, 30)), tau=TAU, eps=EPS), mask_N) > 0.999
    for without in (np.ones((100, 2)), np.eye(100)):
        assert separation(binary_affinity(unit(without), tau=TAU, eps=EPS), mask_N) == 0


@pytest.mark.parametrize("value", [False, True])
def test_separation_of_nothing_and_of_all_is_zero(value):
    assert separation(binary_affinity(unit(blocks(3, 3)), tau=TAU, eps=EPS), np.full(6, value)) == 0


# ------------------------------------------------------------------ sparse graphs


def grid_affinity(height, width, seed=None):
    rng = np.random.default_rng(seed)
    cells = np.arange(height * width).reshape(height, width)
    first = np.concatenate([cells[:, :-1].ravel(), cells[:-1].ravel()])
    second = np.concatenate([cells[:, 1:].ravel(), cells[1:].ravel()])
    weights = np.ones(len(first)) if seed is None else rng.uniform(0.01, 1, len(first))
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    return csr_array((np.tile(weights, 2), (rows, columns)), shape=(cells.size, cells.size))


@pytest.mark.parametrize(
    "affinity",
    [grid_affinity(20, 17, 0), grid_affinity(30, 14, 1), grid_affinity(7, 6, 2), grid_affinity(18, 18), csr_matrix(
        grid_affinity(16, 15, 3))],
    ids=["sparse", "sparse 2", "dense", "with double eigenvalues", "csr_matrix"],
)  # fmt: skip
def test_smallest_eigenvectors_equal_the_dense_ones(affinity):
    dense_NN = affinity.toarray()
    degrees_NN = np.diag(dense_NN.sum(axis=1))
    eigenvalues_K, vectors_NK = smallest_eigenvectors(affinity, 8)
    expected_K = eigh(degrees_NN - dense_NN, degrees_NN, eigvals_only=True)[1:9]
    assert eigenvalues_K == pytest.approx(expected_K, abs=1e-11)
    residual_NK = (degrees_NN - dense_NN) @ vectors_NK - degrees_NN @ vectors_NK * eigenvalues_K
    assert np.abs(residual_NK).max() < 1e-9
    assert vectors_NK.T @ degrees_NN @ vectors_NK == pytest.approx(np.eye(8), abs=1e-9)
    assert (start_vector(len(dense_NN)) @ (np.sqrt(degrees_NN.diagonal())[:, None] * vectors_NK) > 0).all()


def test_all_but_the_constant_vector_of_a_small_graph():
    eigenvalues_K, _ = smallest_eigenvectors(csr_array(np.ones((5, 5)) - np.eye(5)), 4)
    assert eigenvalues_K == pytest.approx(np.full(4, 1.25))


def test_parts_that_are_not_joined_have_eigenvalue_zero():
    halves = np.kron(np.eye(2), grid_affinity(12, 12, 0).toarray())
    eigenvalues_K, vectors_NK = smallest_eigenvectors(csr_array(halves), 2)
    assert eigenvalues_K[0] == pytest.approx(0, abs=1e-12)
    assert np.ptp(vectors_NK[:144, 0]) < 1e-9 and np.ptp(vectors_NK[144:, 0]) < 1e-9


def test_two_sparse_runs_are_identical():
    runs = [smallest_eigenvectors(grid_affinity(20, 17, 0), 8)[1].tobytes() for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("affinity", "k", "message"),
    [
        (csr_array(np.ones((2, 3))), 1, "square"),
        (csr_array(np.ones((3, 3))), 3, r"within 1\.\.2"),
        (csr_array(np.ones((3, 3))), 0, r"within 1\.\.2"),
        (csr_array(np.diag([1.0, 0, 1])), 1, "positive sum"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(affinity, k, message):
    with pytest.raises(ValueError, match=message):
        smallest_eigenvectors(affinity, k)

import numpy as np
import pytest
import scipy.linalg

from dico.features import spectral
from dico.features.graph import grid_graph
from dico.features.spectral import spectral_embedding, spectral_strength

CALM, WALL = 0.02, 0.5


def grid_edges(size_hw):
    return grid_graph(np.zeros((*size_hw, 1), dtype=np.float32)).edges_E2


def dumbbell():
    """Two rooms of 6 x 6 nodes and a wall between them that has a gap one node wide: edges, strength, kind of edge."""
    edges_E2 = grid_edges((6, 12))
    x_E2 = edges_E2 % 12
    y_E2 = edges_E2 // 12
    between_E = (x_E2[:, 0] == 5) & (x_E2[:, 1] == 6)
    gap_E = between_E & (y_E2[:, 0] == 2)
    return edges_E2, np.where(between_E & ~gap_E, WALL, CALM), between_E, gap_E


def cues(edges_E2, strength_E, num_nodes):
    length_E = np.ones(len(edges_E2), dtype=np.float32)
    return spectral_strength(edges_E2, spectral_embedding(edges_E2, strength_E, length_E, num_nodes))


def test_the_border_that_closes_is_stronger_than_the_inside():
    edges_E2, strength_E, between_E, gap_E = dumbbell()
    cue_E = cues(edges_E2, strength_E, 72)
    assert cue_E[between_E & ~gap_E].min() > 2 * np.median(cue_E[~between_E])
    assert cue_E[between_E & ~gap_E].min() > cue_E[~between_E].max()


def test_the_gap_is_stronger_than_equal_evidence_inside():
    edges_E2, strength_E, between_E, gap_E = dumbbell()
    cue_E = cues(edges_E2, strength_E, 72)
    assert strength_E[gap_E] == strength_E[~between_E][0]
    assert cue_E[gap_E].item() > np.percentile(cue_E[~between_E], 90)


def test_a_line_that_ends_inside_counts_less_than_one_that_closes():
    edges_E2 = grid_edges((10, 20))
    x_E2, y_E2 = edges_E2 % 20, edges_E2 // 20
    closing_E = (x_E2[:, 0] == 9) & (x_E2[:, 1] == 10)
    loose_E = (x_E2[:, 0] == 4) & (x_E2[:, 1] == 5) & (y_E2[:, 0] >= 4) & (y_E2[:, 0] <= 6)
    cue_E = cues(edges_E2, np.where(closing_E | loose_E, WALL, CALM), 200)
    assert cue_E[closing_E].mean() > cue_E[loose_E].mean() > np.median(cue_E)


def test_the_first_vector_divides_the_dumbbell():
    edges_E2, strength_E, _, _ = dumbbell()
    first_hw = spectral_embedding(edges_E2, strength_E, np.ones(len(edges_E2)), 72)[:, 0].reshape(6, 12)
    assert len(set(np.sign(first_hw[:, :6]).ravel())) == 1
    assert (np.sign(first_hw[:, :6]) == -np.sign(first_hw[:, 6:])).all()


@pytest.mark.parametrize("size_hw", [(1, 3), (2, 2), (4, 5), (15, 17)])
def test_equals_a_dense_generalised_solver(size_hw):
    num_nodes = size_hw[0] * size_hw[1]
    edges_E2 = grid_edges(size_hw)
    rng = np.random.default_rng(num_nodes)
    strength_E, length_E = rng.uniform(0, 0.4, len(edges_E2)), rng.uniform(1, 9, len(edges_E2))
    embedding_NK = spectral_embedding(edges_E2, strength_E, length_E, num_nodes)
    joined_NN = np.zeros((num_nodes, num_nodes))
    for (a, b), strength, length in zip(edges_E2.tolist(), strength_E, length_E, strict=True):
        joined_NN[a, b] = joined_NN[b, a] = length * np.exp(-strength / spectral._SIGMA)
    degrees_NN = np.diag(joined_NN.sum(axis=1))
    values, vectors_NK = scipy.linalg.eigh(degrees_NN - joined_NN, degrees_NN)
    num_vectors = embedding_NK.shape[1]
    assert 1 <= num_vectors < num_nodes
    for k in range(num_vectors):
        x_N = vectors_NK[:, k + 1]
        expected_N = x_N / np.abs(x_N).max() / np.sqrt(values[k + 1])
        sign = np.sign(expected_N @ embedding_NK[:, k])
        assert embedding_NK[:, k] == pytest.approx(sign * expected_N, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("edges", "num_nodes"), [([], 1), ([[0, 1]], 2)])
def test_too_few_regions_have_no_vectors(edges, num_nodes):
    edges_E2 = np.array(edges, dtype=np.int32).reshape(-1, 2)
    evidence_E = np.full(len(edges_E2), 0.3)
    embedding_NK = spectral_embedding(edges_E2, evidence_E, evidence_E, num_nodes)
    assert embedding_NK.shape == (num_nodes, 0)
    assert spectral_strength(edges_E2, embedding_NK).tolist() == [0.0] * len(edges_E2)


def test_three_regions():
    edges_E2 = np.array([[0, 1], [1, 2]], dtype=np.int32)
    cue_E = cues(edges_E2, np.array([0.0, 0.5]), 3)
    assert cue_E[1] > cue_E[0] >= 0


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_equal_evidence_everywhere(strength):
    edges_E2 = grid_edges((12, 20))
    cue_E = cues(edges_E2, np.full(len(edges_E2), strength), 240)
    assert np.isfinite(cue_E).all() and cue_E.min() >= 0 and cue_E.max() <= 2


def test_most_borders_are_at_most_1():
    edges_E2 = grid_edges((20, 20))
    cue_E = cues(edges_E2, np.random.default_rng(0).uniform(0, 1, len(edges_E2)), 400)
    assert (cue_E <= 1).mean() >= 0.98 and cue_E.min() >= 0 and cue_E.max() <= 2


def test_the_same_graph_gives_the_same_bytes():
    edges_E2, strength_E, _, _ = dumbbell()
    runs = [spectral_embedding(edges_E2, strength_E, np.ones(len(edges_E2)), 72).tobytes() for _ in range(2)]
    assert runs[0] == runs[1]

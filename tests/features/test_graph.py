import numpy as np
import pytest

from dico.features.graph import grid_graph


@pytest.mark.parametrize(("size_hw", "num_edges"), [((1, 1), 0), ((1, 3), 2), ((3, 1), 2), ((3, 4), 17)])
def test_every_pair_of_neighbours_once(size_hw, num_edges):
    graph = grid_graph(np.zeros((*size_hw, 2), dtype=np.float32))
    y_E2, x_E2 = np.divmod(graph.edges_E2, size_hw[1])
    assert (np.abs(np.diff(y_E2)) + np.abs(np.diff(x_E2)) == 1).all()
    assert graph.edges_E2.tolist() == np.unique(graph.edges_E2, axis=0).tolist()
    assert graph.edges_E2.shape == (num_edges, 2)


def test_nodes_are_cells():
    feats_hwC = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    graph = grid_graph(feats_hwC)
    assert np.array_equal(graph.feats_NC[graph.labels_hw], feats_hwC)
    assert graph.sizes_N.tolist() == [1] * 6


@pytest.mark.parametrize("shape", [(3, 4), (0, 3, 2)])
def test_no_grid_is_refused(shape):
    with pytest.raises(ValueError, match="three axes"):
        grid_graph(np.zeros(shape, dtype=np.float32))

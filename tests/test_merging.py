import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dico.config import Linkage
from dico.features.base import RegionGraph
from dico.features.graph import grid_graph
from dico.merging import merge_regions
from tests.reference.merging import labels_by_loop, merge_by_loop

THETAS = (0.9, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -1.0)


def random_features(seed=0, size_hw=(9, 11), channels=6):
    return np.random.default_rng(seed).standard_normal((*size_hw, channels)).astype(np.float32)


def tied_features(seed=0, size_hw=(9, 11), kinds=3):
    """Every cell has one of a few features, so most similarities occur many times."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((kinds, 7)).astype(np.float32)[rng.integers(0, kinds, size_hw)]


def two_blocks(size_hw=(6, 8)):
    feats_hwC = np.zeros((*size_hw, 2), dtype=np.float32)
    feats_hwC[:, : size_hw[1] // 2, 0] = 1
    feats_hwC[:, size_hw[1] // 2 :, 1] = 1
    return feats_hwC


def smooth_features(seed=0, size_hw=(12, 12)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] / 4
    waves = [np.sin(a * y + b * x + c) for a, b, c in rng.uniform(-2, 2, (10, 3))]
    return (np.stack(waves, axis=-1) + 0.1 * rng.standard_normal((*size_hw, 10))).astype(np.float32)


def region_graph(seed=0, num_nodes=40, channels=5):
    """Any graph, not a grid: uneven sizes, borders with strength and length, some parts not connected."""
    rng = np.random.default_rng(seed)
    pairs = np.sort(rng.integers(0, num_nodes, (2 * num_nodes, 2)), axis=1)
    edges_E2 = np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0).astype(np.int32)
    return RegionGraph(
        labels_hw=np.arange(num_nodes, dtype=np.int32)[None],
        edges_E2=edges_E2,
        feats_NC=rng.uniform(0, 1, (num_nodes, channels)).astype(np.float32),
        sizes_N=rng.integers(1, 50, num_nodes),
        strength_E=rng.uniform(0, 1, len(edges_E2)).astype(np.float32),
        length_E=rng.integers(1, 9, len(edges_E2)).astype(np.float32),
    )


LINKAGES = {
    "published": Linkage(),
    "boundaries too": Linkage(boundary_weight=0.3),
    "boundaries most": Linkage(boundary_weight=2.0),
    "boundaries only": Linkage(feature_weight=0.0, boundary_weight=1.0),
    "small first": Linkage(size_power=0.35),
    "small first, both": Linkage(feature_weight=0.5, boundary_weight=1.5, size_power=0.35),
    "small first, boundaries": Linkage(feature_weight=0.0, boundary_weight=1.0, size_power=0.35),
    "smallest first": Linkage(feature_weight=3.0, size_power=1.0),
    "nothing counts": Linkage(feature_weight=0.0),
}
INPUTS = {
    "random": random_features(),
    "tied": tied_features(),
    "two kinds": tied_features(kinds=2),
    "uniform": np.ones((7, 5, 3), dtype=np.float32),
    "two blocks": two_blocks(),
    "smooth": smooth_features(),
    "all zero": np.zeros((4, 4, 3), dtype=np.float32),
    "some zero": tied_features() * (np.arange(11)[None, :, None] % 3 > 0),
    "opposite": np.sign(random_features(channels=1)),
    "1x1": random_features(size_hw=(1, 1)),
    "1x2": random_features(size_hw=(1, 2)),
    "2x2": random_features(size_hw=(2, 2)),
    "one row": random_features(size_hw=(1, 40)),
}


def assert_equals_loop(graph, linkage=None, **options):
    linkage = linkage or Linkage()
    merges = merge_by_loop(graph, linkage, **options)
    tree = merge_regions(graph, linkage, **options)
    assert tree.similarity_M.tolist() == [similarity for _, similarity in merges]
    for theta in THETAS:
        labels_N = tree.labels(tree.merges_until(theta))
        assert np.array_equal(labels_N, labels_by_loop(len(graph.feats_NC), merges, theta))
    for m, ((a, b), _) in enumerate(merges):
        assert [tree.members(child[None])[1].min() for child in tree.children_M2[m]] == [a, b]


@pytest.mark.parametrize("name", INPUTS)
def test_equals_the_loop(name):
    assert_equals_loop(grid_graph(INPUTS[name]))
    assert_equals_loop(grid_graph(INPUTS[name]), stop=0.3)


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("name", INPUTS)
def test_equals_the_loop_with_any_linkage(name, linkage):
    graph = grid_graph(INPUTS[name])
    strength_E = np.random.default_rng(1).choice([0.0, 0.25, 0.7], len(graph.edges_E2)).astype(np.float32)
    assert_equals_loop(dataclasses.replace(graph, strength_E=strength_E), LINKAGES[linkage])


@given(st.integers(0, 10_000), st.sampled_from(list(LINKAGES.values())))
def test_equals_the_loop_on_region_graphs(seed, linkage):
    assert_equals_loop(region_graph(seed), linkage)


@given(st.integers(0, 10_000), st.integers(2, 4), st.sampled_from([0.0, 0.35]))
def test_equals_the_loop_where_ties_abound(seed, kinds, size_power):
    assert_equals_loop(grid_graph(tied_features(seed, (6, 6), kinds)), Linkage(size_power=size_power))


def test_a_hand_made_case():
    """0 and 1 merge first; their sum is then less like 2 than 1 alone was."""
    feats_NC = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    tree = merge_regions(grid_graph(feats_NC[None]))
    assert tree.children_M2.tolist() == [[0, 1], [3, 2]]
    assert tree.similarity_M == pytest.approx([0.8, 0.6 / np.hypot(1.8, 0.6)])


def test_ties_merge_the_smaller_pair_first():
    tree = merge_regions(grid_graph(np.ones((2, 2, 1), dtype=np.float32)))
    assert tree.children_M2.tolist() == [[0, 1], [4, 2], [5, 3]]


def test_sizes_weigh_the_sums():
    feats_NC = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    graph = dataclasses.replace(grid_graph(feats_NC[None]), sizes_N=np.array([9, 1, 1]))
    assert merge_regions(graph).similarity_M[1] == pytest.approx(0.6 / np.hypot(9.8, 0.6))


def test_a_strong_boundary_keeps_regions_apart():
    graph = dataclasses.replace(
        grid_graph(np.ones((1, 3, 1), dtype=np.float32)), strength_E=np.array([0.9, 0.1], dtype=np.float32)
    )
    tree = merge_regions(graph, Linkage(boundary_weight=1.0), stop=0.5)
    assert tree.children_M2.tolist() == [[1, 2]]
    assert tree.similarity_M == pytest.approx([0.9])


def test_the_size_power_lets_small_regions_merge_first():
    """The pair that is less alike holds the smallest region, whose share of 1 in 21 makes up for it."""
    feats_NC = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)  # cosines 0.8 and 0.6
    graph = dataclasses.replace(grid_graph(feats_NC[None]), sizes_N=np.array([10, 10, 1]))
    assert merge_regions(graph).children_M2[0].tolist() == [0, 1]
    tree = merge_regions(graph, Linkage(size_power=0.5))
    assert tree.children_M2[0].tolist() == [1, 2]
    assert tree.similarity_M[0] == pytest.approx(1 - 0.4 * (1 / 21) ** 0.5)


def test_features_that_weigh_nothing_may_be_anything():
    graph = region_graph()
    linkage = Linkage(feature_weight=0.0, boundary_weight=1.0)
    tree = merge_regions(dataclasses.replace(graph, feats_NC=np.full_like(graph.feats_NC, np.nan)), linkage)
    assert np.array_equal(tree.similarity_M, merge_regions(graph, linkage).similarity_M)
    assert len(tree.similarity_M)


def test_the_input_is_left_as_it_was():
    graph = region_graph()
    before = copy.deepcopy(graph)
    merge_regions(graph, Linkage(boundary_weight=1.0, size_power=0.35))
    for field in dataclasses.fields(graph):
        assert np.array_equal(getattr(graph, field.name), getattr(before, field.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes_N": np.ones(3, dtype=int)}, "a row of feats_NC and an entry of sizes_N"),
        ({"sizes_N": np.array([1, 0, 1, 1])}, "sizes_N must be positive, got 0"),
        ({"edges_E2": np.array([[1, 0]])}, "unique sorted pairs"),
        ({"edges_E2": np.array([[0, 1], [0, 1]])}, "unique sorted pairs"),
        ({"edges_E2": np.array([[0, 4]])}, "nodes below 4"),
        ({"strength_E": np.ones(1)}, r"strength_E must have one entry per edge \(4\)"),
        ({"feats_NC": np.full((4, 2), np.nan, dtype=np.float32)}, "feats_NC must be finite"),
        ({"feats_NC": np.array([[1], [1], [np.inf], [1]], dtype=np.float32)}, "feats_NC must be finite"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(change, message):
    graph = dataclasses.replace(grid_graph(np.ones((2, 2, 1), dtype=np.float32)), **change)
    with pytest.raises(ValueError, match=message):
        merge_regions(graph)

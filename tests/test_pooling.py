from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from dico.config import ConquerConfig, Linkage, PoolConfig
from dico.conquer import pooled_regions
from dico.features.base import RegionGraph
from dico.merge_tree import MergeTree
from dico.pooling import Pool, pool_of_tree

ONE_TREE = PoolConfig(linkages=(Linkage(),), min_cells=1)


def row_of_colours(angles):
    """A graph of regions side by side, one cell each, whose features are directions in a plane."""
    feats_NC = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    n = len(angles)
    edges_E2 = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1).astype(np.int32)
    return RegionGraph(np.arange(n, dtype=np.int32)[None], edges_E2, feats_NC, np.ones(n, dtype=np.int64))


def halves(count):
    """Angles whose merging pairs them up, then pairs the pairs, and so on up to the whole."""
    angles, gap = np.zeros(1), 0.01
    while len(angles) < count:
        angles, gap = np.concatenate([angles, angles + gap]), 3 * gap
    return angles


def test_regions_know_how_many_there_were_when_they_came_to_be():
    tree = MergeTree.from_pairs(np.array([[0, 1], [2, 3], [0, 2]]), np.array([0.9, 0.6, 0.2]), np.ones(4, int))
    pool = pool_of_tree(tree, ONE_TREE)
    members = [frozenset(pool.leaves[a:b].tolist()) for a, b in itertools.pairwise(pool.indptr)]
    alive = dict(zip(members, pool.alive_K.tolist(), strict=True))
    assert alive == {
        **{frozenset([leaf]): 4 for leaf in range(4)},
        frozenset([0, 1]): 3,
        frozenset([2, 3]): 2,
        frozenset(range(4)): 1,
    }


def test_a_single_region_is_one():
    tree = MergeTree.from_pairs(np.zeros((0, 2), int), np.zeros(0), np.ones(1, int))
    assert pool_of_tree(tree, ONE_TREE).alive_K.tolist() == [1]


def test_pools_are_joined_and_taken_apart():
    tree = MergeTree.from_pairs(np.array([[0, 1], [0, 2]]), np.array([0.9, 0.2]), np.ones(3, int))
    pool = pool_of_tree(tree, ONE_TREE)
    twice = Pool.concat([pool, pool])
    again = twice.take(np.arange(len(pool), 2 * len(pool)))
    assert len(twice) == 2 * len(pool)
    for name in (entry.name for entry in dataclasses.fields(Pool)):
        np.testing.assert_array_equal(getattr(again, name), getattr(pool, name))


def test_theta_doubles_the_number_of_regions_each_tenth():
    graph = row_of_colours(halves(16))
    masks = pooled_regions(graph, ConquerConfig(pool=ONE_TREE), (1, 16), source="image")
    alive = 2 ** (10 * masks.theta.astype(np.float64))
    np.testing.assert_allclose(alive, np.round(alive), rtol=1e-5)
    of_area = {area: np.round(alive[masks.area_px == area]).astype(int).tolist() for area in (1, 4, 8)}
    assert set(of_area[1]) <= {16} and set(of_area[4]) <= {4, 5, 6, 7} and set(of_area[8]) <= {2, 3}
    assert all(of_area.values())
    assert masks.level.min() == 1
    np.testing.assert_array_equal(masks.level, np.floor(np.log2(np.round(alive))))


def test_theta_ends_at_one():
    pool = dataclasses.replace(ONE_TREE, regions_per_tree=5000, max_regions=5000)
    masks = pooled_regions(row_of_colours(halves(2048)), ConquerConfig(pool=pool), (1, 2048), source="image")
    assert masks.theta.max() == 1 and masks.level.max() == 10


def test_thresholds_of_the_other_way_do_not_change_the_pool():
    graph = row_of_colours(halves(16))
    config = ConquerConfig(pool=ONE_TREE)
    assert pooled_regions(graph, config, (1, 16), source="") == pooled_regions(
        graph, dataclasses.replace(config, thetas=(0.9, 0.1)), (1, 16), source=""
    )


@pytest.mark.parametrize("max_regions", [1, 3])
def test_at_most_so_many_regions(max_regions):
    config = ConquerConfig(pool=dataclasses.replace(ONE_TREE, max_regions=max_regions))
    masks = pooled_regions(row_of_colours(halves(16)), config, (1, 16), source="image")
    assert len(masks) == max_regions and set(masks.source) == {"image"}
    assert (np.diff(masks.score) <= 0).all()

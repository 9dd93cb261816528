from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from dico.config import ConquerConfig, Linkage, PoolConfig
from dico.conquer import pooled_regions
from dico.features.base import RegionGraph
from dico.features.graph import grid_graph
from dico.merge_tree import MergeTree
from dico.merging import merge_regions
from dico.pooling import Pool, pool_of_tree, priors, rank_regions
from tests.reference.pooling import (
    compactness_by_loop,
    contrast_by_loop,
    greedy_by_loop,
    masks_of,
    persistence_by_loop,
    satisfaction_by_loop,
    total_satisfaction,
)

ONE_TREE = PoolConfig(linkages=(Linkage(),), min_cells=1)
POWERS = [entry.name for entry in dataclasses.fields(PoolConfig) if entry.name.endswith("_power")]


def row_of_colours(angles):
    """A graph of regions side by side, one cell each, whose features are directions in a plane."""
    feats_NC = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    n = len(angles)
    edges_E2 = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1).astype(np.int32)
    return RegionGraph(np.arange(n, dtype=np.int32)[None], edges_E2, feats_NC, np.ones(n, dtype=np.int64))


def grid(size_hw, seed=0, *, with_borders=True):
    """A graph of cells with random features and, unless it is plain, random sizes and borders."""
    rng = np.random.default_rng(seed)
    graph = grid_graph(rng.uniform(0, 1, (*size_hw, 3)).astype(np.float32))
    if not with_borders:
        return graph
    sizes_N = rng.integers(1, 9, size_hw[0] * size_hw[1])
    strength_E, length_E = (rng.uniform(0.1, 1, len(graph.edges_E2)).astype(np.float32) for _ in range(2))
    return dataclasses.replace(graph, sizes_N=sizes_N, strength_E=strength_E, length_E=10 * length_E)


def pool_of(sets):
    """A pool of given regions of equal standing."""
    leaves = np.array([leaf for one in sets for leaf in one], dtype=np.int32)
    indptr = np.cumsum([0] + [len(one) for one in sets], dtype=np.int64)
    return Pool(indptr, leaves, np.ones(len(sets)), np.ones(len(sets), dtype=np.int64))


def random_pool(graph, count, seed=0):
    """Regions of more than one leaf, many of them nearly the same: of trees over noisy copies of the graph."""
    rng = np.random.default_rng(seed)
    pools = []
    for _ in range(4):
        feats_NC = graph.feats_NC + rng.normal(0, 0.1, graph.feats_NC.shape).astype(np.float32)
        tree = merge_regions(dataclasses.replace(graph, feats_NC=feats_NC), Linkage(boundary_weight=0.5))
        pools.append(pool_of_tree(tree, ONE_TREE))
    pool = Pool.concat(pools)
    return pool.take(rng.permutation(np.flatnonzero(np.diff(pool.indptr) > 1))[:count])


def only(**powers):
    """A configuration in which no cue counts for a prior but the given ones."""
    return dataclasses.replace(ONE_TREE, **{**dict.fromkeys(POWERS, 0), **powers})


def sets_of(pool, regions):
    return [frozenset(pool.leaves[pool.indptr[k] : pool.indptr[k + 1]].tolist()) for k in regions]


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


@pytest.mark.parametrize("min_iou", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_ranking_equals_the_loop(seed, min_iou):
    graph = grid((4, 5), seed)
    pool = random_pool(graph, 45, seed)
    prior_K = np.random.default_rng(seed).uniform(0.1, 1, len(pool))
    chosen, added = rank_regions(pool, graph, prior_K, dataclasses.replace(ONE_TREE, min_iou=min_iou))
    degree_KK = satisfaction_by_loop(masks_of(pool, 20), graph.sizes_N, min_iou)
    expected, gains = greedy_by_loop(degree_KK, prior_K, len(pool))
    # What is left of a gain by rounding may or may not be above 0.
    count = int((np.array(gains) > 1e-9).sum())
    assert sets_of(pool, chosen[:count]) == sets_of(pool, expected[:count])
    assert added[:count] == pytest.approx(gains[:count])
    assert (added[count:] <= 1e-9).all()


def test_tied_ranking_equals_the_loop():
    # Eight equal leaves in halves of halves: every overlap is a power of two, so sums are exact and ties are ties.
    sets = [range(a, a + size) for size in (8, 4, 2, 1) for a in range(0, 8, size)]
    sets = [*sets, *sets[::-1]]
    graph, pool, prior_K = row_of_colours(halves(8)), pool_of(sets), np.ones(len(sets))
    chosen, added = rank_regions(pool, graph, prior_K, dataclasses.replace(ONE_TREE, min_iou=0.0))
    degree_KK = satisfaction_by_loop(masks_of(pool, 8), graph.sizes_N, 0.0)
    expected, gains = greedy_by_loop(degree_KK, prior_K, len(sets))
    assert (chosen.tolist(), added.tolist()) == (expected, gains)


def test_one_region_and_none():
    graph = row_of_colours(np.zeros(3))
    chosen, added = rank_regions(pool_of([[0, 1]]), graph, np.array([0.7]), ONE_TREE)
    assert chosen.tolist() == [0] and added.tolist() == pytest.approx([0.7])
    chosen, added = rank_regions(pool_of([]), graph, np.zeros(0), ONE_TREE)
    assert len(chosen) == len(added) == 0


def test_regions_that_add_nothing_are_not_chosen():
    graph = row_of_colours(np.zeros(4))
    chosen, _ = rank_regions(pool_of([[0, 1], [2], [1, 0], [3]]), graph, np.array([1.0, 0.5, 0.4, 0.0]), ONE_TREE)
    assert chosen.tolist() == [0, 1]  # the third is the first again, the fourth has no prior


def test_disjoint_regions_come_by_their_priors():
    prior_K = np.array([0.3, 0.9, 0.1, 0.5])
    chosen, added = rank_regions(pool_of([[0], [1], [2], [3]]), row_of_colours(np.zeros(4)), prior_K, ONE_TREE)
    assert chosen.tolist() == [1, 3, 0, 2] and added == pytest.approx([0.9, 0.5, 0.3, 0.1])


def test_near_copies_come_late():
    # Three of one region that differ by a cell in 20, and two others with less standing than any of them.
    sets = [range(20), range(19), range(1, 20), range(20, 30), range(30, 40)]
    prior_K = np.array([0.9, 0.8, 0.8, 0.5, 0.4])
    chosen, _ = rank_regions(pool_of(sets), row_of_colours(np.zeros(40)), prior_K, ONE_TREE)
    assert chosen[:3].tolist() == [0, 3, 4]


def test_agreement_beats_a_higher_prior():
    sets = [range(20), range(19), range(1, 20), range(20, 30)]
    prior_K = np.array([0.5, 0.5, 0.5, 0.9])
    chosen, added = rank_regions(pool_of(sets), row_of_colours(np.zeros(40)), prior_K, ONE_TREE)
    assert chosen[:2].tolist() == [0, 3] and added[0] > 0.9


def test_gains_fall_and_add_up_to_what_the_choice_is_worth():
    graph = grid((5, 6))
    pool = random_pool(graph, 60)
    prior_K = priors(pool, graph, ONE_TREE)
    chosen, added = rank_regions(pool, graph, prior_K, ONE_TREE)
    assert len(chosen) == len(set(chosen.tolist())) == len(added) > 10
    assert (np.diff(added) <= 0).all() and (added > 0).all()
    degree_KK = satisfaction_by_loop(masks_of(pool, 30), graph.sizes_N, ONE_TREE.min_iou)
    for size in (1, 5, len(chosen)):
        assert added[:size].sum() == pytest.approx(total_satisfaction(chosen[:size], degree_KK, prior_K))


def test_fewer_regions_are_a_prefix():
    graph = grid((5, 6))
    pool = random_pool(graph, 60)
    prior_K = priors(pool, graph, ONE_TREE)
    chosen, added = rank_regions(pool, graph, prior_K, ONE_TREE)
    for size in (1, 4, 11):
        fewer, gains = rank_regions(pool, graph, prior_K, dataclasses.replace(ONE_TREE, max_regions=size))
        assert fewer.tolist() == chosen[:size].tolist() and gains.tolist() == added[:size].tolist()


def test_the_order_of_the_pool_does_not_matter():
    graph = grid((5, 6))
    pool = random_pool(graph, 60)
    prior_K = np.random.default_rng(1).uniform(0.1, 1, len(pool))
    config = dataclasses.replace(ONE_TREE, max_regions=15)
    chosen, added = rank_regions(pool, graph, prior_K, config)
    order = np.random.default_rng(2).permutation(len(pool))
    of_shuffled, gains = rank_regions(pool.take(order), graph, prior_K[order], config)
    assert sets_of(pool, order[of_shuffled]) == sets_of(pool, chosen)
    assert gains == pytest.approx(added)


@pytest.mark.parametrize("with_borders", [True, False])
def test_contrast_equals_the_loop(with_borders):
    graph = grid((4, 6), with_borders=with_borders)
    pool = random_pool(graph, 30)
    assert priors(pool, graph, only(contrast_power=1)) == pytest.approx(contrast_by_loop(masks_of(pool, 24), graph))


@pytest.mark.parametrize("with_borders", [True, False])
def test_compactness_equals_the_loop(with_borders):
    graph = grid((4, 6), with_borders=with_borders)
    pool = random_pool(graph, 30)
    compactness_K = priors(pool, graph, only(compactness_power=1))
    assert compactness_K == pytest.approx(compactness_by_loop(masks_of(pool, 24), graph))
    assert len(set(compactness_K)) > 3


def test_a_square_is_more_compact_than_a_bar():
    graph = grid_graph(np.ones((6, 8, 1), dtype=np.float32))
    square, bar = [9, 10, 17, 18], [9, 10, 11, 12]
    assert priors(pool_of([square, bar, range(48)]), graph, only(compactness_power=1)) == pytest.approx(
        [4 * np.pi * 4 / 8**2, 4 * np.pi * 4 / 10**2, 4 * np.pi * 48 / 28**2]
    )


def test_the_outline_of_two_squares():
    # Four cells in a square; the strengths are of the edges 01, 02, 13, 23.
    graph = dataclasses.replace(
        grid_graph(np.ones((2, 2, 1), dtype=np.float32)),
        strength_E=np.array([0.1, 0.9, 0.5, 0.3], dtype=np.float32),
        length_E=np.array([1, 2, 2, 1], dtype=np.float32),
    )
    assert priors(pool_of([[0, 1], [0], [0, 1, 2, 3]]), graph, only(contrast_power=1)) == pytest.approx(
        [(2 * 0.9 + 2 * 0.5) / 4, (0.1 + 2 * 0.9) / 3, 0]
    )


def test_every_cue_counts_by_its_power_alone():
    graph = grid((4, 5))
    pool = random_pool(graph, 30)
    assert priors(pool, graph, only()).tolist() == [1] * len(pool)
    product_K = np.ones(len(pool))
    for name in POWERS:
        cue_K = priors(pool, graph, only(**{name: 1}))
        assert ((cue_K >= 0) & (cue_K <= 1)).all() and len(set(cue_K)) > 1
        assert priors(pool, graph, only(**{name: 2})) == pytest.approx(cue_K**2)
        product_K *= cue_K
    assert priors(pool, graph, only(**dict.fromkeys(POWERS, 1))) == pytest.approx(product_K)


def test_size_is_the_share_of_the_cells_and_height_is_the_trees():
    graph = grid((4, 5))
    pool = random_pool(graph, 30)
    share_K = masks_of(pool, 20) @ graph.sizes_N / graph.sizes_N.sum()
    assert priors(pool, graph, only(size_power=1)) == pytest.approx(share_K)
    assert priors(pool, graph, only(height_power=1)) == pytest.approx(pool.height_K)


def test_no_regions_have_no_priors():
    assert priors(pool_of([]), grid((2, 2)), ONE_TREE).shape == (0,)


@pytest.mark.parametrize("seed", range(3))
def test_the_pool_of_a_tree_holds_what_outlasts_most_merges(seed):
    tree = merge_regions(grid((4, 5), seed), Linkage(boundary_weight=1.0))
    born, gone = persistence_by_loop(tree.children_M2, tree.height_M, tree.num_leaves)
    everything = pool_of_tree(tree, ONE_TREE)
    assert len(set(sets_of(everything, range(len(everything))))) == len(everything) == len(tree.parent_T)
    pool = pool_of_tree(tree, dataclasses.replace(ONE_TREE, regions_per_tree=12, min_cells=6))
    nodes = {frozenset(tree.members(np.array([node]))[1].tolist()): node for node in range(len(tree.parent_T))}
    found = [nodes[one] for one in sets_of(pool, range(len(pool)))]
    large = [node for node in range(len(tree.parent_T)) if tree.sizes_T[node] >= 6]
    assert found == sorted(large, key=lambda node: (born[node] - gone[node], node))[:12]
    assert pool.height_K == pytest.approx([gone[node] for node in found])


def test_equal_regions_have_no_persistence_and_no_trouble():
    graph = row_of_colours(np.zeros(8))
    pool = pool_of_tree(merge_regions(graph, Linkage()), ONE_TREE)
    assert np.isfinite(pool.height_K).all()
    prior_K = priors(pool, graph, ONE_TREE)
    assert np.isfinite(prior_K).all() and (prior_K >= 0).all()
    _, added = rank_regions(pool, graph, prior_K, ONE_TREE)
    assert np.isfinite(added).all()


def test_every_kind_of_evidence_has_its_trees():
    """Four cells in a row, alike: one kind of evidence parts them in the middle, the other beside it."""
    middle_E, beside_E = (np.array(values, dtype=np.float32) for values in ([0.1, 0.9, 0.1], [0.9, 0.1, 0.2]))
    graph = dataclasses.replace(row_of_colours(np.zeros(4)), strength_E=middle_E)
    config = ConquerConfig(pool=dataclasses.replace(ONE_TREE, linkages=(Linkage(boundary_weight=1.0),)))

    def found(graph):
        return {tuple(mask_HW[0].astype(int)) for mask_HW in pooled_regions(graph, config, (1, 4), source="").decode()}

    assert (1, 1, 0, 0) in found(graph) and (0, 1, 1, 1) not in found(graph)
    assert {(1, 1, 0, 0), (0, 1, 1, 1)} <= found(dataclasses.replace(graph, more_strengths=(beside_E,)))


def test_pooled_regions_are_the_ranked_sets():
    graph = grid((4, 5))
    config = ConquerConfig(pool=dataclasses.replace(ONE_TREE, linkages=(Linkage(), Linkage(boundary_weight=2.0))))
    masks = pooled_regions(graph, config, (8, 10), source="image")
    assert len({mask_HW.tobytes() for mask_HW in masks.iter_decoded()}) == len(masks) > 5
    for mask_HW in masks.iter_decoded():  # whole cells of the grid
        assert np.array_equal(mask_HW, mask_HW[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))
    assert (masks.parent == -1).all() and (np.diff(masks.score) <= 0).all()
    assert ((masks.theta >= 0) & (masks.theta <= 1)).all() and (masks.level >= 1).all()

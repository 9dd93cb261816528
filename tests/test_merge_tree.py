import itertools

import numpy as np
import pytest

from dico.merge_tree import MergeTree


def chain():
    """Leaves 0..3; merges 1+2 at 0.8, then 0+1 at 0.9 (more alike than before), then 0+3 at 0.2."""
    return MergeTree.from_pairs(np.array([[1, 2], [0, 1], [0, 3]]), np.array([0.8, 0.9, 0.2]), np.array([1, 2, 3, 4]))


def test_links_and_sizes():
    tree = chain()
    assert tree.num_leaves == 4
    assert tree.children_M2.tolist() == [[1, 2], [0, 4], [5, 3]]
    assert tree.parent_T.tolist() == [5, 4, 4, 6, 5, 6, -1]
    assert tree.sizes_T.tolist() == [1, 2, 3, 4, 5, 6, 10]


def test_a_level_ends_at_the_first_pair_below_theta():
    tree = chain()
    assert tree.height_M == pytest.approx([0.8, 0.8, 0.2])
    assert [tree.merges_until(theta) for theta in (0.95, 0.85, 0.8, 0.5, 0.2, 0.1, -np.inf)] == [0, 0, 2, 2, 3, 3, 3]


@pytest.mark.parametrize(
    ("merges", "alive", "labels"),
    [(0, [0, 1, 2, 3], [0, 1, 2, 3]), (1, [0, 4, 3], [0, 1, 1, 2]), (2, [5, 3], [0, 0, 0, 1]), (3, [6], [0] * 4)],
)
def test_alive_and_labels(merges, alive, labels):
    assert chain().alive(merges).tolist() == alive
    assert chain().labels(merges).tolist() == labels


def test_members():
    indptr, leaves = chain().members(np.array([6, 0, 4]))
    assert [sorted(leaves[i:j].tolist()) for i, j in itertools.pairwise(indptr)] == [[0, 1, 2, 3], [0], [1, 2]]


def test_members_of_nothing():
    indptr, leaves = chain().members(np.zeros(0, dtype=int))
    assert indptr.tolist() == [0] and leaves.tolist() == []


def test_a_tree_without_merges():
    tree = MergeTree.from_pairs(np.zeros((0, 2)), np.zeros(0), np.ones(2, dtype=int))
    assert tree.merges_until(0.5) == 0
    assert tree.alive(0).tolist() == tree.labels(0).tolist() == [0, 1]


def test_a_forest_keeps_its_roots():
    tree = MergeTree.from_pairs(np.array([[0, 2]]), np.array([0.5]), np.ones(3, dtype=int))
    assert tree.alive(1).tolist() == [3, 1]
    assert tree.parent_T.tolist() == [3, -1, 3, -1]


def test_persistence_is_the_span_of_thresholds():
    tree = MergeTree.from_pairs(
        np.array([[1, 2], [0, 1], [0, 3]]), np.array([0.75, 0.875, -0.5]), np.ones(4, dtype=int)
    )
    # Node 4 (leaves 1 and 2) is joined by leaf 0 at once: its parts were less alike than it and 0.
    assert tree.persistence(np.arange(7)).tolist() == [0.25, 0.25, 0.25, 1.0, 0.0, 0.75, 0.0]


def test_persistence_is_positive_just_where_a_node_shows_at_some_threshold():
    tree = chain()
    shown = {node for theta in np.linspace(0, 1, 1001) for node in tree.alive(tree.merges_until(theta))}
    assert {node for node in range(7) if tree.persistence(np.array([node]))[0] > 0} == shown


def test_nearest_ancestor():
    assert chain().nearest_ancestor(np.array([2, 6, 4, 3, 0])).tolist() == [2, -1, 1, 1, 1]


@pytest.mark.parametrize("merges", [-1, 4])
def test_more_merges_than_there_are_is_refused(merges):
    with pytest.raises(ValueError, match=r"within 0\.\.3"):
        chain().alive(merges)

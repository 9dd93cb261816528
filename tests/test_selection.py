import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dico.config import SelectConfig
from dico.masks import MaskSet
from dico.selection import coverage, drop_large, drop_small, link_parents, select, suppress, top
from tests.reference import selection as reference


@st.composite
def rectangle_sets(draw):
    """Up to 12 rectangles, some of them empty, some equal, with distinct scores."""
    n = draw(st.integers(0, 12))
    masks_NHW = np.zeros((n, 9, 11), dtype=bool)
    for mask_HW in masks_NHW:
        y, x = draw(st.integers(0, 9)), draw(st.integers(0, 11))
        mask_HW[y : y + draw(st.integers(0, 9)), x : x + draw(st.integers(0, 11))] = True
    scores = draw(st.permutations(range(n)))
    return MaskSet.from_arrays(masks_NHW, score=[score / 16 for score in scores])


def square(size_hw, y0, x0, side):
    mask_HW = np.zeros(size_hw, dtype=bool)
    mask_HW[y0 : y0 + side, x0 : x0 + side] = True
    return mask_HW


@given(rectangle_sets(), st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0]))
def test_suppression_equals_the_loop(masks, max_iou):
    kept = reference.suppress(masks.decode(), masks.score.tolist(), max_iou)
    assert suppress(masks, max_iou) == masks[kept]


@given(arrays(bool, (8, 4, 5)), st.lists(st.sampled_from([0.25, 0.5]), min_size=8, max_size=8))
def test_suppression_of_ragged_masks_with_tied_scores_equals_the_loop(masks_NHW, scores):
    masks = MaskSet.from_arrays(masks_NHW, score=scores)
    assert suppress(masks, 0.4) == masks[reference.suppress(masks_NHW, scores, 0.4)]


@given(rectangle_sets(), st.sampled_from([0.3, 0.7]))
def test_suppressing_twice_is_suppressing_once(masks, max_iou):
    once = suppress(masks, max_iou)
    assert suppress(once, max_iou) == once


@given(rectangle_sets(), st.randoms(use_true_random=False))
def test_suppression_does_not_depend_on_the_order(masks, random):
    shuffled = list(range(len(masks)))
    random.shuffle(shuffled)
    assert set(suppress(masks[shuffled], 0.5).score) == set(suppress(masks, 0.5).score)


def test_of_equal_scores_the_earlier_mask_stays():
    masks = MaskSet.from_arrays(np.ones((3, 2, 2)), source=["first", "second", "third"])
    assert suppress(masks, 0.9).source == ("first",)


def test_a_mask_is_only_suppressed_by_one_that_stays():
    masks_NHW = np.stack([square((4, 12), 0, x, 4) for x in (0, 1, 2)])
    masks = MaskSet.from_arrays(masks_NHW, score=[0.9, 0.8, 0.7])  # IoU of neighbours 0.6, of the ends 0.33
    assert suppress(masks, 0.5) == masks[[0, 2]]


def test_suppression_keeps_the_order_and_links_parents_to_those_that_stay():
    whole, copy, part = np.ones((4, 4)), np.ones((4, 4)), square((4, 4), 0, 0, 2)
    masks = MaskSet.from_arrays(np.stack([part, copy, whole]), score=[0.1, 0.5, 0.9], parent=[1, 2, -1])
    kept = suppress(masks, 0.9)
    assert kept.score.tolist() == pytest.approx([0.1, 0.9])
    assert kept.parent.tolist() == [1, -1]


@given(rectangle_sets(), st.sampled_from([0.3, 0.9, 1.0]))
def test_parents_equal_the_loop(masks, min_inside):
    assert link_parents(masks, min_inside).parent.tolist() == reference.link_parents(masks.decode(), min_inside)


@given(arrays(bool, (10, 3, 4)), st.sampled_from([0.5, 0.9, 1.0]))
def test_parents_of_ragged_masks_equal_the_loop(masks_NHW, min_inside):
    linked = link_parents(MaskSet.from_arrays(masks_NHW), min_inside)
    assert linked.parent.tolist() == reference.link_parents(masks_NHW, min_inside)


@given(rectangle_sets())
def test_parents_contain_their_children_and_are_larger(masks):
    linked = link_parents(masks, 0.9)
    areas, inside = linked.area_px, linked.containment()
    for child, parent in enumerate(linked.parent):
        if parent >= 0:
            assert areas[parent] > areas[child]
            assert inside[child, parent] >= 0.9
    assert len(linked.depth()) == len(linked)  # only a forest has depths


def test_of_equally_small_enclosing_masks_the_first_is_the_parent():
    left, right = square((4, 6), 0, 0, 4), square((4, 6), 0, 1, 4)
    inner = square((4, 6), 1, 2, 2)
    assert link_parents(MaskSet.from_arrays(np.stack([right, left, inner])), 1.0).parent.tolist() == [-1, -1, 0]


def test_equal_masks_are_not_parents_of_one_another():
    assert link_parents(MaskSet.from_arrays(np.ones((3, 2, 2))), 0.9).parent.tolist() == [-1, -1, -1]


def test_a_part_that_sticks_out_too_far_has_no_parent():
    whole, part = square((8, 8), 0, 0, 5), square((8, 8), 3, 3, 4)  # 4 of 16 pixels inside
    assert link_parents(MaskSet.from_arrays(np.stack([whole, part])), 0.9).parent.tolist() == [-1, -1]
    assert link_parents(MaskSet.from_arrays(np.stack([whole, part])), 0.25).parent.tolist() == [-1, 0]


def test_dropping_by_area():
    masks = MaskSet.from_arrays(np.stack([square((8, 8), 0, 0, side) for side in (0, 2, 4, 8)]))
    assert drop_small(masks, 4).area_px.tolist() == [4, 16, 64]
    assert drop_small(masks, 0).area_px.tolist() == [0, 4, 16, 64]
    assert drop_large(masks, 0.25).area_px.tolist() == [0, 4, 16]
    assert drop_large(masks, 1.0) == masks


def test_top_sorts_by_score_and_keeps_the_order_of_equals():
    masks = MaskSet.from_arrays(np.ones((4, 1, 1)), score=[0.5, 0.9, 0.5, 0.1], source=["a", "b", "c", "d"])
    assert top(masks, 3).source == ("b", "a", "c")
    assert top(masks, 99).source == ("b", "a", "c", "d")
    assert len(top(masks, 0)) == 0


@given(rectangle_sets())
def test_coverage_equals_the_loop(masks):
    assert coverage(masks) == pytest.approx(reference.coverage(masks.decode()))


def test_coverage_of_hand_made_masks():
    left = np.array([[[1, 0], [1, 0]]])
    assert coverage(MaskSet.from_arrays(left)) == 0.5
    assert coverage(MaskSet.from_arrays(np.concatenate([left, 1 - left, left]))) == 1.0


@given(rectangle_sets())
def test_selection_is_ordered_limited_distinct_and_linked(masks):
    config = SelectConfig(max_masks=5, max_iou=0.6, min_area_px=3, min_inside_parent=0.8)
    chosen = select(masks, config)
    assert len(chosen) <= 5
    assert (np.diff(chosen.score) <= 0).all()
    assert (chosen.area_px >= 3).all()
    assert (chosen.iou() - np.eye(len(chosen)) <= 0.6).all()
    assert chosen.parent.tolist() == reference.link_parents(chosen.decode(), 0.8)
    assert select(chosen, config) == chosen


def test_more_masks_than_a_byte_counts():
    masks = MaskSet.from_arrays(np.stack([square((40, 40), n // 20, n % 20, 3) for n in range(400)]))
    assert len(suppress(masks, 1.0)) == 400
    assert len(suppress(masks, 0.4)) == len(reference.suppress(masks.decode(), [1.0] * 400, 0.4))


@pytest.mark.parametrize("act", [lambda m: suppress(m, 0.5), lambda m: link_parents(m, 0.9), lambda m: top(m, 3)])
def test_no_masks(act):
    nothing = MaskSet.empty((3, 4))
    assert act(nothing) == nothing
    assert select(nothing, SelectConfig()) == nothing
    assert coverage(nothing) == 0.0


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda m: suppress(m, 1.5), r"max_iou must be within \[0, 1\], got 1.5"),
        (lambda m: link_parents(m, 0), r"min_inside must be within \(0, 1\], got 0"),
        (lambda m: top(m, -1), "n must be at least 0, got -1"),
    ],
)
def test_values_out_of_range_are_refused(act, text):
    with pytest.raises(ValueError, match=text):
        act(MaskSet.empty((3, 4)))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dico.masks import MaskSet
from tests.reference import fusion as reference
from training.fusion import fuse_with_human, self_training_round

ROW_HW = (1, 100)


def stripes(*ends: tuple[int, int], **fields) -> MaskSet:
    """Masks of one row of a hundred pixels, each from one pixel up to another."""
    masks_NHW = np.zeros((len(ends), *ROW_HW), dtype=bool)
    for mask_HW, (start, stop) in zip(masks_NHW, ends, strict=True):
        mask_HW[0, start:stop] = True
    return MaskSet.from_arrays(masks_NHW, **fields) if ends else MaskSet.empty(ROW_HW)


some_masks = st.integers(0, 5).flatmap(lambda n: arrays(bool, (n, 3, 4)))
limits = st.sampled_from([0.0, 0.02, 0.25, 0.5, 1.0])


@given(some_masks, some_masks, limits, limits, st.randoms(use_true_random=False))
def test_a_round_equals_the_loop(predictions_NHW, pseudo_NHW, min_score, max_iou, random):
    scores = [random.choice([0.0, 0.25, 0.5, 0.75, 1.0]) for _ in predictions_NHW]
    predictions, pseudo = MaskSet.from_arrays(predictions_NHW, score=scores), MaskSet.from_arrays(pseudo_NHW)
    limits = {"min_score": min_score, "max_iou": max_iou}
    sure, kept = reference.self_training_round(predictions_NHW, scores, pseudo_NHW, **limits)
    fused = self_training_round(predictions, pseudo, **limits)
    assert fused == MaskSet.concat([predictions[sure], pseudo[kept]])


@given(some_masks, some_masks, limits)
def test_fusion_with_human_masks_equals_the_loop(human_NHW, pseudo_NHW, max_iou):
    human, pseudo = MaskSet.from_arrays(human_NHW), MaskSet.from_arrays(pseudo_NHW)
    kept = reference.left_over(list(human_NHW), pseudo_NHW, max_iou)
    assert fuse_with_human(human, pseudo, max_iou=max_iou) == MaskSet.concat([human, pseudo[kept]])


def test_a_round_keeps_sure_predictions_and_what_they_do_not_cover():
    predictions = stripes((0, 40), (50, 90), score=[0.7, 0.71], source="model")  # the first is not above 0.7
    pseudo = stripes((0, 40), (50, 70), (50, 71), score=[3.0, 2.0, 1.0], source="divide")  # IoU 0, 20/40 and 21/40
    fused = self_training_round(predictions, pseudo)
    assert fused == MaskSet.concat([predictions[[1]], pseudo[[0, 1]]])
    assert fused.score == pytest.approx([0.71, 3.0, 2.0])


def test_human_masks_all_stay_and_pseudo_masks_fill_the_gaps():
    human = stripes((0, 50), (0, 49), score=[0.1, 0.2], source="human")  # near-copies, and of low score
    pseudo = stripes((49, 99), (48, 99), (50, 60), source="divide")  # largest IoU 1/99, 2/99 and 0
    assert fuse_with_human(human, pseudo) == MaskSet.concat([human, pseudo[[0, 2]]])


def test_parents_stay_within_their_origin_and_are_linked_past_what_went():
    predictions = stripes((0, 90), (0, 80), (0, 10), score=[0.9, 0.1, 0.8], parent=[-1, 0, 1])
    pseudo = stripes((0, 85), (20, 40), parent=[-1, 0], level=[0, 3], theta=[0.1, 0.6])
    fused = self_training_round(predictions, pseudo)
    assert fused.parent.tolist() == [-1, 0, -1]  # of the pseudo-masks the whole went, so its part has no parent
    assert fused.level.tolist() == [0, 0, 3] and fused.theta == pytest.approx([0, 0, 0.6])


def test_either_side_may_be_empty():
    some, none = stripes((0, 5), (5, 9), score=[0.9, 0.8]), stripes()
    for fuse in (self_training_round, fuse_with_human):
        assert fuse(none, none) == none
        assert fuse(some, none) == some
        assert fuse(none, some) == some


def test_empty_masks_overlap_nothing():
    empty = stripes((0, 0), score=[0.9])
    assert len(self_training_round(empty, empty, max_iou=0)) == len(fuse_with_human(empty, empty, max_iou=0)) == 2


@pytest.mark.parametrize("fuse", [self_training_round, fuse_with_human])
@pytest.mark.parametrize("count", [0, 1])
def test_sets_of_different_images_are_refused(fuse, count):
    with pytest.raises(ValueError, match=r"one image size, got \(1, 100\) and \(2, 3\)"):
        fuse(MaskSet.from_arrays(np.ones((count, 2, 3))), stripes((0, 1)))


def test_limits_outside_their_range_are_refused():
    with pytest.raises(ValueError, match=r"min_score must be within \[0, 1\], got 70"):
        self_training_round(stripes(), stripes(), min_score=70)
    with pytest.raises(ValueError, match=r"max_iou must be within \[0, 1\], got nan"):
        fuse_with_human(stripes(), stripes(), max_iou=float("nan"))

"""Scores of masks that fit their prompt, and of those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from dico.masks import MaskSet
from tests.reference.automatic_masks import box_iou, box_of
from training.pixel_prompts import PixelPrompts, checked
from training.prompt_fit import fitted


def in_box(masks, box):
    """Fitted to a box, which may lie anywhere."""
    return fitted(
        masks, PixelPrompts(np.zeros((1, 0, 2)), np.zeros((1, 0), dtype=np.int64), np.array([box], dtype=float)), 0
    )


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_multiplied_by_the_iou_of_boxes(seed):
    rng = np.random.default_rng(seed)
    masks_NHW = rng.random((8, 12, 17)) < 0.02
    masks_NHW[:, 5, 6] = True
    score_N = rng.random(8).astype(np.float32)
    box = np.array([2.5, 1.0, 11.0, 9.25])
    masks = in_box(MaskSet.from_arrays(masks_NHW, score=score_N), box)
    expected_N = [score * box_iou(box_of(mask_HW), box) for score, mask_HW in zip(score_N, masks_NHW, strict=True)]
    np.testing.assert_allclose(masks.score, expected_N, rtol=1e-6)
    np.testing.assert_array_equal(masks.decode(), masks_NHW)


def test_what_fits_comes_first_of_masks_that_are_as_sure():
    masks_NHW = np.zeros((3, 10, 10), dtype=bool)
    masks_NHW[0, 2:8, 2:8], masks_NHW[1, 2:8, 3:8], masks_NHW[2, 9, 9] = True, True, True
    assert in_box(MaskSet.from_arrays(masks_NHW), (2, 2, 8, 8)).score.tolist() == pytest.approx([1, 5 / 6, 0])


def test_an_empty_mask_fits_no_box_and_a_score_below_zero_stays():
    masks = MaskSet.from_arrays(np.zeros((2, 4, 4), dtype=bool), score=[0.5, -0.25])
    assert in_box(masks, [0, 0, 4, 4]).score.tolist() == [0, -0.25]
    below = MaskSet.from_arrays(np.ones((1, 4, 4), dtype=bool), score=[-0.25])
    assert in_box(below, [0, 0, 1, 1]).score.tolist() == [-0.25]
    assert len(in_box(MaskSet.empty((4, 4)), [0, 0, 1, 1])) == 0


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_multiplied_by_the_share_of_clicks_that_are_right(seed):
    rng = np.random.default_rng(seed)
    masks_NHW = rng.random((6, 12, 17)) < 0.5
    masks = MaskSet.from_arrays(masks_NHW, score=rng.random(6))
    points_PK2 = rng.integers(0, (17, 12), (2, 5, 2))
    labels_PK = np.array([[1, 0, 1, 1, 0], [1, 1, 0, -1, -1]])
    for p, known in enumerate((5, 3)):
        expected_N = []
        for score, mask_HW in zip(masks.score, masks_NHW, strict=True):
            clicks = zip(points_PK2[p, :known], labels_PK[p, :known], strict=True)
            expected_N.append(score * np.mean([mask_HW[y, x] == bool(label) for (x, y), label in clicks]))
        found = fitted(masks, checked((12, 17), points_PK2, labels_PK), p)
        np.testing.assert_allclose(found.score, expected_N, rtol=1e-6)


def test_a_click_between_pixels_is_on_the_nearest_and_boxes_come_with_clicks():
    masks_NHW = np.zeros((2, 4, 6), dtype=bool)
    masks_NHW[0, :, :3], masks_NHW[1, :, 3:] = True, True
    masks = MaskSet.from_arrays(masks_NHW, score=[0.5, 0.5])
    assert fitted(masks, checked((4, 6), [[[2.4, 0]]]), 0).score.tolist() == [0.5, 0]
    assert fitted(masks, checked((4, 6), [[[2.6, 3.4]]]), 0).score.tolist() == [0, 0.5]
    both = checked((4, 6), [[[0, 0], [5, 3]]], [[1, 1]], [[0, 0, 6, 4]])
    assert fitted(masks, both, 0).score.tolist() == pytest.approx([0.125, 0.125])

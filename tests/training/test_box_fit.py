"""Scores of masks that fill the box of their prompt, and of those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from dico.masks import MaskSet
from tests.reference.automatic_masks import box_iou, box_of
from training.box_fit import fitted


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_multiplied_by_the_iou_of_boxes(seed):
    rng = np.random.default_rng(seed)
    masks_NHW = rng.random((8, 12, 17)) < 0.02
    masks_NHW[:, 5, 6] = True
    score_N = rng.random(8).astype(np.float32)
    box = np.array([2.5, 1.0, 11.0, 9.25])
    masks = fitted(MaskSet.from_arrays(masks_NHW, score=score_N), box)
    expected_N = [score * box_iou(box_of(mask_HW), box) for score, mask_HW in zip(score_N, masks_NHW, strict=True)]
    np.testing.assert_allclose(masks.score, expected_N, rtol=1e-6)
    np.testing.assert_array_equal(masks.decode(), masks_NHW)


def test_what_fits_comes_first_of_masks_that_are_as_sure():
    masks_NHW = np.zeros((3, 10, 10), dtype=bool)
    masks_NHW[0, 2:8, 2:8], masks_NHW[1, 2:8, 3:8], masks_NHW[2, 9, 9] = True, True, True
    assert fitted(MaskSet.from_arrays(masks_NHW), (2, 2, 8, 8)).score.tolist() == pytest.approx([1, 5 / 6, 0])


def test_an_empty_mask_fits_no_box_and_a_score_below_zero_stays():
    masks = MaskSet.from_arrays(np.zeros((2, 4, 4), dtype=bool), score=[0.5, -0.25])
    assert fitted(masks, [0, 0, 4, 4]).score.tolist() == [0, -0.25]
    below = MaskSet.from_arrays(np.ones((1, 4, 4), dtype=bool), score=[-0.25])
    assert fitted(below, [0, 0, 1, 1]).score.tolist() == [-0.25]
    assert len(fitted(MaskSet.empty((4, 4)), [0, 0, 1, 1])) == 0

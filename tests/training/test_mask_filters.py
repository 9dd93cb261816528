from __future__ import annotations

import numpy as np
import pytest

from tests.reference.automatic_masks import distinct
from training.postprocess.filters import distinct_boxes, inside_crop


@pytest.mark.parametrize("seed", range(6))
def test_boxes_are_those_of_the_loop(seed):
    rng = np.random.default_rng(seed)
    corners_N4 = rng.integers(0, 20, (60, 4)).astype(np.float32)
    corners_N4[:, 2:] += corners_N4[:, :2] + 1
    rank_N = rng.integers(0, 8, 60).astype(float)  # many are equal
    for max_iou in (0.0, 0.3, 0.7, 1.0):
        stays_N = distinct_boxes(corners_N4, rank_N, max_iou)
        assert np.flatnonzero(stays_N).tolist() == sorted(distinct(corners_N4, rank_N, max_iou))


def test_equal_boxes_and_none():
    boxes_N4 = np.array([[1, 1, 3, 3]] * 3, dtype=np.float32)
    assert distinct_boxes(boxes_N4, np.zeros(3), 0.99).tolist() == [True, False, False]
    assert distinct_boxes(boxes_N4, np.zeros(3), 1.0).all()
    assert distinct_boxes(boxes_N4[:0], np.zeros(0), 0.5).shape == (0,)


def test_what_a_crop_cuts_off():
    boxes_N4 = np.array([[0, 3, 4, 7], [3, 0, 7, 4], [3, 3, 10, 7], [3, 3, 7, 10], [3, 3, 7, 7]], dtype=np.float32)
    inner = inside_crop(boxes_N4, (5, 5, 15, 15), (30, 30), 2)
    assert inner.tolist() == [False, False, False, False, True]
    assert inside_crop(boxes_N4, (0, 0, 10, 10), (10, 10), 2).all()
    assert inside_crop(boxes_N4, (5, 0, 15, 10), (10, 15), 0).tolist() == [False, True, True, True, True]

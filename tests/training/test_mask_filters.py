from __future__ import annotations

import numpy as np
import pytest

from dico.masks import MaskSet
from tests.reference.automatic_masks import cleaned, distinct
from training.postprocess.filters import distinct_boxes, inside_crop, without_small_regions


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


def test_holes_are_filled_and_specks_removed():
    mask_HW = np.zeros((12, 12), dtype=bool)
    mask_HW[1:9, 1:9] = True
    mask_HW[3, 3:5] = False  # a hole of two pixels
    mask_HW[6, 8] = False  # a dent
    mask_HW[11, 11] = mask_HW[10, 10] = True  # a speck of two pixels that touch at a corner
    masks = MaskSet.from_arrays(mask_HW[None], score=[0.5])
    cleaned_masks, changed = without_small_regions(masks, 3)
    expected_HW = mask_HW.copy()
    expected_HW[3, 3:5], expected_HW[10, 10], expected_HW[11, 11] = True, False, False
    assert changed.tolist() == [True] and cleaned_masks.score.tolist() == [0.5]
    np.testing.assert_array_equal(cleaned_masks.decode()[0], expected_HW)
    same, changed = without_small_regions(masks, 2)
    assert same == masks and not changed.any()
    assert without_small_regions(masks, 0)[0] is masks


def test_the_largest_of_small_pieces_stays():
    mask_HW = np.zeros((5, 9), dtype=bool)
    mask_HW[0, 0], mask_HW[2, 4:7], mask_HW[4, 8] = True, True, True
    (kept_HW,) = without_small_regions(MaskSet.from_arrays(mask_HW[None]), 10)[0].decode()
    assert kept_HW.sum() == 3 and kept_HW[2, 4:7].all()


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_those_of_whole_masks(seed):
    rng = np.random.default_rng(seed)
    masks_NHW = np.stack([*(rng.random((4, 15, 20)) < 0.55), np.ones((15, 20)), np.eye(15, 20)]).astype(bool)
    for min_region_px in (2, 5, 40):
        found, changed = without_small_regions(MaskSet.from_arrays(masks_NHW), min_region_px)
        for mask_HW, found_HW, is_changed in zip(masks_NHW, found.decode(), changed, strict=True):
            np.testing.assert_array_equal(found_HW, cleaned(mask_HW, min_region_px))
            assert is_changed == (found_HW != mask_HW).any()

"""Small pieces and holes of masks, against pixels that are labelled one component at a time."""

from __future__ import annotations

import numpy as np
import pytest

from dico.mask_codes import encode_mask
from dico.masks import MaskSet
from tests.reference.automatic_masks import cleaned
from training.postprocess.regions import without_small_regions


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
    assert without_small_regions(masks, 0)[0] == masks


def test_the_largest_of_small_pieces_stays():
    mask_HW = np.zeros((5, 9), dtype=bool)
    mask_HW[0, 0], mask_HW[2, 4:7], mask_HW[4, 8] = True, True, True
    (kept_HW,) = without_small_regions(MaskSet.from_arrays(mask_HW[None]), 10)[0].decode()
    assert kept_HW.sum() == 3 and kept_HW[2, 4:7].all()


def test_of_equal_small_pieces_the_one_farthest_left_stays():
    mask_HW = np.zeros((5, 9), dtype=bool)
    mask_HW[4, 1], mask_HW[0, 3] = True, True
    (kept_HW,) = without_small_regions(MaskSet.from_arrays(mask_HW[None]), 10)[0].decode()
    assert kept_HW.sum() == 1 and kept_HW[4, 1]


def test_what_is_small_may_depend_on_the_mask():
    """A hole and a speck of four pixels go of a mask of 404, and stay of one of 64."""
    masks_NHW = np.zeros((2, 30, 30), dtype=bool)
    masks_NHW[0, 2:22, 2:22] = masks_NHW[1, 2:10, 2:10] = True
    masks_NHW[:, 4:6, 4:6], masks_NHW[:, 26:28, 26:28] = False, True
    found, changed_N = without_small_regions(MaskSet.from_arrays(masks_NHW), 0, 0.05)
    assert found.area_px.tolist() == [400, 64] and changed_N.tolist() == [True, False]


@pytest.mark.parametrize("size_hw", [(15, 20), (1, 40), (40, 1), (33, 7)])
@pytest.mark.parametrize("seed", range(5))
def test_regions_are_those_of_labelled_pixels(seed, size_hw):
    rng = np.random.default_rng(seed)
    random_NHW = rng.random((6, *size_hw)) < rng.uniform(0.2, 0.8, (6, 1, 1))
    masks_NHW = np.stack([*random_NHW, np.ones(size_hw), np.zeros(size_hw), np.eye(*size_hw)]).astype(bool)
    for limits in ((0, 0.0), (2, 0.0), (5, 0.0), (40, 0.0), (0, 0.02), (3, 0.1)):
        found, changed_N = without_small_regions(MaskSet.from_arrays(masks_NHW), *limits)
        for mask_HW, rle, found_HW, is_changed in zip(masks_NHW, found.rles, found.decode(), changed_N, strict=True):
            np.testing.assert_array_equal(found_HW, cleaned(mask_HW, *limits))
            assert is_changed == (found_HW != mask_HW).any() and rle == encode_mask(found_HW)


def test_cleaning_twice_changes_nothing_more():
    masks_NHW = np.random.default_rng(0).random((20, 30, 40)) < 0.5
    once, _ = without_small_regions(MaskSet.from_arrays(masks_NHW), 12)
    twice, changed_N = without_small_regions(once, 12)
    assert twice == once and not changed_N.any()


def test_no_masks():
    found, changed_N = without_small_regions(MaskSet.empty((4, 5)), 3, 0.1)
    assert len(found) == 0 and changed_N.shape == (0,)

"""The pairs of masks that overlap enough are those of pycocotools, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_rle

from dico.masks import MaskSet
from dico.matching import Pairs
from dico.overlaps import MaskRuns, overlapping_pairs

SIZE_HW = (37, 53)


def runs_of(masks: MaskSet) -> MaskRuns:
    return MaskRuns.of(masks.rles, masks.size_hw)


def dense(pairs: Pairs, n_truths: int) -> NDArray[np.float64]:
    """float64 (D, G): the overlaps, 0 where there is no pair."""
    overlap_DG = np.zeros((len(pairs.first_D) - 1, n_truths))
    of_pair_P = np.repeat(np.arange(len(overlap_DG)), np.diff(pairs.first_D))
    overlap_DG[of_pair_P, pairs.truth_P] = pairs.iou_P
    return overlap_DG


def random_masks(rng: np.random.Generator, count: int) -> MaskSet:
    """Noise, rectangles, whole columns (runs over several), everything and nothing."""
    masks_NHW = rng.random((count, *SIZE_HW)) < rng.uniform(0, 1, count)[:, None, None]
    for mask_HW in masks_NHW[::2]:
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, side + 1, 2)) for side in SIZE_HW)
        mask_HW[:] = False
        mask_HW[y0:y1, x0:x1] = True
    masks_NHW[1::7, :, :30] = True
    masks_NHW[3::11] = False
    masks_NHW[5::13] = True
    return MaskSet.from_arrays(masks_NHW)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_overlap", [1e-9, 0.3, 0.5, 1.0])
def test_pairs_are_those_of_pycocotools(seed: int, min_overlap: float) -> None:
    rng = np.random.default_rng(seed)
    masks, truths = random_masks(rng, 60), random_masks(rng, 40)
    is_crowd_G = rng.random(40) < 0.3
    pairs = overlapping_pairs(runs_of(masks), runs_of(truths), is_crowd_G, min_overlap=min_overlap)
    iou_DG = coco_rle.iou(masks.to_rle_dicts(), truths.to_rle_dicts(), is_crowd_G.astype(int).tolist())
    expected_DG = np.where(iou_DG >= min_overlap, iou_DG, 0)
    assert 0 < np.count_nonzero(expected_DG) < expected_DG.size
    np.testing.assert_array_equal(dense(pairs, 40), expected_DG)


def test_overlap_of_exactly_the_threshold_is_kept() -> None:
    masks_NHW = np.zeros((2, *SIZE_HW), dtype=bool)
    masks_NHW[0, :4, :4] = masks_NHW[1, :4, :8] = True
    masks = MaskSet.from_arrays(masks_NHW)
    nobody = np.zeros(1, dtype=bool)
    for one, other in ((0, 1), (1, 0)):
        pairs = overlapping_pairs(runs_of(masks[[one]]), runs_of(masks[[other]]), nobody, min_overlap=0.5)
        assert pairs.iou_P.tolist() == [0.5]


def test_small_mask_inside_a_large_crowd() -> None:
    """Intersection over union, and the bounds for it, would rule the pair out."""
    masks_NHW = np.zeros((2, *SIZE_HW), dtype=bool)
    masks_NHW[0, :2, :2] = masks_NHW[1, 1:, :] = True
    small, crowd = MaskSet.from_arrays(masks_NHW[:1]), MaskSet.from_arrays(masks_NHW[1:])
    for is_crowd, found in ((True, [0.5]), (False, [])):
        pairs = overlapping_pairs(runs_of(small), runs_of(crowd), np.array([is_crowd]), min_overlap=0.5)
        assert pairs.iou_P.tolist() == found


def test_more_pairs_than_were_made_room_for() -> None:
    masks = MaskSet.from_arrays(np.ones((40, *SIZE_HW), dtype=bool))
    pairs = overlapping_pairs(runs_of(masks), runs_of(masks), np.zeros(40, dtype=bool), min_overlap=0.5)
    np.testing.assert_array_equal(dense(pairs, 40), np.ones((40, 40)))
    assert pairs.first_D.tolist() == list(range(0, 1601, 40))


def test_areas_and_boxes_equal_pycocotools() -> None:
    masks = random_masks(np.random.default_rng(0), 80)
    runs = runs_of(masks)
    assert runs.area_N.tolist() == masks.area_px.tolist()
    np.testing.assert_array_equal(runs.box_N4, masks.boxes_xyxy)


def test_nothing_on_one_side() -> None:
    masks, nothing = runs_of(random_masks(np.random.default_rng(0), 3)), runs_of(MaskSet.empty(SIZE_HW))
    assert overlapping_pairs(nothing, masks, np.zeros(3, dtype=bool), min_overlap=0.5).first_D.tolist() == [0]
    assert overlapping_pairs(masks, nothing, np.zeros(0, dtype=bool), min_overlap=0.5).first_D.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("code", "message"), [(b"1", "must cover the pixels"), (b"p", "must be a compressed COCO code")]
)
def test_broken_codes_are_refused(code: bytes, message: str) -> None:
    whole = MaskSet.from_arrays(np.ones((1, *SIZE_HW))).rles
    with pytest.raises(ValueError, match=message):
        MaskRuns.of([*whole, code, *whole], SIZE_HW)

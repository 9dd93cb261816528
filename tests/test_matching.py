"""Greedy matching of one image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dico.matching import AREA_LIMITS_PX, HIT, IGNORED, IOU_THRESHOLDS, MISS, in_area_range, match

ALL, SMALL, MEDIUM, LARGE = range(4)
MANY_PX = 50.0 * 50  # a medium area


def match_all_medium(iou_DG: Any, crowds: tuple[int, ...] = ()) -> NDArray[np.int8]:
    ious = np.array(iou_DG, dtype=np.float64)
    is_crowd_G = np.isin(np.arange(ious.shape[1]), crowds)
    return match(ious, np.full(ious.shape[0], MANY_PX), np.full(ious.shape[1], MANY_PX), is_crowd_G)


def test_hand_made_overlaps() -> None:
    # The first mask takes truth 1, its better one; the second finds only truth 1, taken; the third finds truth 0.
    outcome_ATD = match_all_medium([[0.6, 0.8], [0.1, 0.9], [0.72, 0.0]])
    assert outcome_ATD.shape == (4, 10, 3)
    assert outcome_ATD[ALL, 0].tolist() == [HIT, MISS, HIT]
    assert outcome_ATD[ALL, IOU_THRESHOLDS.index(0.75)].tolist() == [HIT, MISS, MISS]
    assert outcome_ATD[ALL, 7].tolist() == [MISS, HIT, MISS]  # at .85 the first no longer takes it
    assert outcome_ATD[ALL, 9].tolist() == [MISS, MISS, MISS]
    np.testing.assert_array_equal(outcome_ATD[ALL], outcome_ATD[MEDIUM])
    assert (outcome_ATD[[SMALL, LARGE]] == IGNORED).all()


def test_equal_overlaps_go_to_the_last_truth() -> None:
    # pycocotools replaces a match by an equal one: then the second mask, that fits truth 1 alone, finds it taken.
    assert match_all_medium([[0.7, 0.7], [0.0, 0.7]])[ALL, 0].tolist() == [HIT, MISS]
    assert match_all_medium([[0.7, 0.7], [0.7, 0.0]])[ALL, 0].tolist() == [HIT, HIT]


def test_crowd_is_second_choice_and_never_used_up() -> None:
    outcome_TD = match_all_medium([[0.6, 0.9], [0.0, 0.9], [0.0, 0.8]], crowds=(1,))[ALL]
    assert outcome_TD[0].tolist() == [HIT, IGNORED, IGNORED]
    assert outcome_TD[3].tolist() == [IGNORED, IGNORED, IGNORED]  # at .65 the first falls back on the crowd


def test_truth_outside_the_range_is_second_choice_and_used_up() -> None:
    area_G = np.array([30.0 * 30, MANY_PX])
    outcome_ATD = match(np.array([[0.9, 0.6], [0.9, 0.0]]), np.full(2, MANY_PX), area_G, np.zeros(2, dtype=bool))
    assert outcome_ATD[ALL, 0].tolist() == [HIT, MISS]
    assert outcome_ATD[MEDIUM, 0].tolist() == [HIT, IGNORED]
    assert outcome_ATD[MEDIUM, 4].tolist() == [IGNORED, MISS]
    assert outcome_ATD[SMALL, 0].tolist() == [HIT, IGNORED]


def test_full_overlap_counts_at_every_threshold() -> None:
    assert (match_all_medium([[1.0]])[ALL] == HIT).all()


@pytest.mark.parametrize(("n_dets", "n_truths"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_on_one_side(n_dets: int, n_truths: int) -> None:
    outcome_ATD = match_all_medium(np.zeros((n_dets, n_truths)))
    assert outcome_ATD.shape == (4, 10, n_dets)
    assert (outcome_ATD[ALL] == MISS).all()


def test_area_ranges_share_their_borders() -> None:
    within_AK = in_area_range(np.array([0.0, 1023, 1024, 1025, 9216, 9217]))
    assert within_AK.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]
    assert len(AREA_LIMITS_PX) == len(within_AK)

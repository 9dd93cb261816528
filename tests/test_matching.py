"""Greedy matching of one image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dico.matching import (
    AREA_LIMITS_PX,
    HIT,
    IGNORED,
    IOU_THRESHOLDS,
    MISS,
    NOT_FOUND,
    Matches,
    Pairs,
    in_area_range,
    match,
)
from tests.reference.greedy_matching import greedy_matching

ALL, SMALL, MEDIUM, LARGE = range(4)
MANY_PX = 50.0 * 50  # a medium area


def pairs_of(iou_DG: NDArray[np.float64]) -> Pairs:
    pair_D, pair_G = np.nonzero(iou_DG)
    return Pairs(np.searchsorted(pair_D, np.arange(len(iou_DG) + 1)), pair_G, iou_DG[pair_D, pair_G])


def match_all_medium(iou_DG: Any, crowds: tuple[int, ...] = ()) -> Matches:
    ious = np.array(iou_DG, dtype=np.float64)
    is_crowd_G = np.isin(np.arange(ious.shape[1]), crowds)
    return match(pairs_of(ious), np.full(ious.shape[0], MANY_PX), np.full(ious.shape[1], MANY_PX), is_crowd_G)


def test_hand_made_overlaps() -> None:
    # The first mask takes truth 1, its better one; the second finds only truth 1, taken; the third finds truth 0.
    matches = match_all_medium([[0.6, 0.8], [0.1, 0.9], [0.72, 0.0]])
    outcome_ATD = matches.outcome_ATD
    assert outcome_ATD.shape == (4, 10, 3)
    assert outcome_ATD[ALL, 0].tolist() == [HIT, MISS, HIT]
    assert outcome_ATD[ALL, IOU_THRESHOLDS.index(0.75)].tolist() == [HIT, MISS, MISS]
    assert outcome_ATD[ALL, 7].tolist() == [MISS, HIT, MISS]  # at .85 the first no longer takes it
    assert outcome_ATD[ALL, 9].tolist() == [MISS, MISS, MISS]
    np.testing.assert_array_equal(outcome_ATD[ALL], outcome_ATD[MEDIUM])
    assert (outcome_ATD[[SMALL, LARGE]] == IGNORED).all()
    assert matches.finder_TG[0].tolist() == [2, 0]
    assert matches.finder_TG[7].tolist() == [NOT_FOUND, 1]
    assert (matches.finder_TG[9] == NOT_FOUND).all()


def test_equal_overlaps_go_to_the_last_truth() -> None:
    # pycocotools replaces a match by an equal one: then the second mask, that fits truth 1 alone, finds it taken.
    assert match_all_medium([[0.7, 0.7], [0.0, 0.7]]).outcome_ATD[ALL, 0].tolist() == [HIT, MISS]
    assert match_all_medium([[0.7, 0.7], [0.7, 0.0]]).outcome_ATD[ALL, 0].tolist() == [HIT, HIT]


def test_crowd_is_second_choice_and_never_used_up() -> None:
    matches = match_all_medium([[0.6, 0.9], [0.0, 0.9], [0.0, 0.8]], crowds=(1,))
    outcome_TD = matches.outcome_ATD[ALL]
    assert outcome_TD[0].tolist() == [HIT, IGNORED, IGNORED]
    assert outcome_TD[3].tolist() == [IGNORED, IGNORED, IGNORED]  # at .65 the first falls back on the crowd
    assert matches.finder_TG[[0, 3]].tolist() == [[0, NOT_FOUND], [NOT_FOUND, NOT_FOUND]]  # nobody finds a crowd


def test_truth_outside_the_range_is_second_choice_and_used_up() -> None:
    area_G = np.array([30.0 * 30, MANY_PX])
    matches = match(pairs_of(np.array([[0.9, 0.6], [0.9, 0.0]])), np.full(2, MANY_PX), area_G, np.zeros(2, dtype=bool))
    outcome_ATD = matches.outcome_ATD
    assert outcome_ATD[ALL, 0].tolist() == [HIT, MISS]
    assert outcome_ATD[MEDIUM, 0].tolist() == [HIT, IGNORED]
    assert outcome_ATD[MEDIUM, 4].tolist() == [IGNORED, MISS]
    assert outcome_ATD[SMALL, 0].tolist() == [HIT, IGNORED]
    assert matches.finder_TG[0].tolist() == [0, NOT_FOUND]  # whatever the area


def test_full_overlap_counts_at_every_threshold() -> None:
    assert (match_all_medium([[1.0]]).outcome_ATD[ALL] == HIT).all()


@pytest.mark.parametrize(("n_dets", "n_truths"), [(0, 0), (0, 3), (3, 0)])
def test_nothing_on_one_side(n_dets: int, n_truths: int) -> None:
    matches = match_all_medium(np.zeros((n_dets, n_truths)))
    outcome_ATD = matches.outcome_ATD
    assert outcome_ATD.shape == (4, 10, n_dets)
    assert (outcome_ATD[ALL] == MISS).all()
    assert matches.finder_TG.tolist() == [[NOT_FOUND] * n_truths] * 10


@pytest.mark.parametrize("seed", range(30))
def test_equals_a_loop(seed: int) -> None:
    """Ties, crowds and every area range; the loop keeps no pairs and no arrays."""
    rng = np.random.default_rng(seed)
    n_dets, n_truths = rng.integers(1, 25, 2)
    iou_DG = rng.choice([0.0, 0.2, 0.5, 0.55, 0.6, 0.75, 0.8, 0.9, 0.97, 1.0], (n_dets, n_truths))
    area_D, area_G = (rng.choice([500.0, 32.0**2, 40.0**2, 96.0**2, 1e5], n) for n in (n_dets, n_truths))
    is_crowd_G = rng.random(n_truths) < 0.3
    matches = match(pairs_of(iou_DG), area_D, area_G, is_crowd_G)
    assert matches.outcome_ATD.shape == (len(AREA_LIMITS_PX), len(IOU_THRESHOLDS), n_dets)
    for a, limits_px in enumerate(AREA_LIMITS_PX):
        for t, threshold in enumerate(IOU_THRESHOLDS):
            taken_by, ignored = greedy_matching(
                iou_DG.tolist(), area_D.tolist(), area_G.tolist(), is_crowd_G.tolist(), threshold, limits_px
            )
            outcomes = [IGNORED if ignored[d] else MISS if g is None else HIT for d, g in enumerate(taken_by)]
            assert matches.outcome_ATD[a, t].tolist() == outcomes
            if a == ALL:
                found = {g: d for d, g in enumerate(taken_by) if g is not None and not is_crowd_G[g]}
                assert matches.finder_TG[t].tolist() == [found.get(g, NOT_FOUND) for g in range(n_truths)]


def test_fewer_masks_find_what_the_best_of_many_find() -> None:
    """Recall at every budget follows from the finders."""
    rng = np.random.default_rng(0)
    iou_DG, area_D, area_G = rng.random((30, 12)), np.full(30, MANY_PX), np.full(12, MANY_PX)
    finder_TG = match(pairs_of(iou_DG), area_D, area_G, np.zeros(12, dtype=bool)).finder_TG
    for n in (0, 1, 5, 30):
        of_best_TG = match(pairs_of(iou_DG[:n]), area_D[:n], area_G, np.zeros(12, dtype=bool)).finder_TG
        np.testing.assert_array_equal(of_best_TG, np.where(finder_TG < n, finder_TG, NOT_FOUND))


def test_area_ranges_share_their_borders() -> None:
    within_AK = in_area_range(np.array([0.0, 1023, 1024, 1025, 9216, 9217]))
    assert within_AK.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ]
    assert len(AREA_LIMITS_PX) == len(within_AK)

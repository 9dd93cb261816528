"""Which masks find which ground truth: COCO's greedy matching of one image, arrays in, arrays out.

Axes: D detected masks of an image, best first; G ground truths; P pairs of both; T IoU thresholds; A area ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS: tuple[float, ...] = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""COCO's .50:.95, to the last bit."""
AREA_NAMES = ("all", "small", "medium", "large")
"""The area ranges, in the order of the axis A."""
ALL_AREAS = AREA_NAMES.index("all")
AREA_LIMITS_PX: tuple[tuple[float, float], ...] = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))
"""The ranges' ends, both inclusive: COCO counts a mask of exactly 32 x 32 pixels as small and as medium."""

MISS, HIT, IGNORED = 0, 1, -1
"""What became of a detection: it found nothing, it found a ground truth, or it counts neither for nor against."""
NOT_FOUND = -1
"""Stands for the detection that found a ground truth where none did."""


@dataclass(frozen=True)
class Pairs:
    """The masks and ground truths of one image that overlap enough for the lowest threshold, mask by mask.

    Attributes:
        first_D: int64 (D + 1,): where the pairs of each mask begin in P, and P.
        truth_P: int64 (P,): the ground truth of each pair, rising for each mask.
        iou_P: float64 (P,) up to 1: how much they overlap; for a crowd the share of the mask inside it.
    """

    first_D: NDArray[np.int64]
    truth_P: NDArray[np.int64]
    iou_P: NDArray[np.float64]


@dataclass(frozen=True)
class Matches:
    """Which masks of one image found which ground truths.

    Attributes:
        outcome_ATD: int8 (A, T, D) of ``MISS``, ``HIT`` and ``IGNORED``: what became of each mask.
        finder_TG: int64 (T, G): the mask that found each ground truth of any area, an index below D; ``NOT_FOUND``
            where none did, and for a crowd. The best n masks alone find those whose finder is below n.
    """

    outcome_ATD: NDArray[np.int8]
    finder_TG: NDArray[np.int64]


def in_area_range(area_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (A, K): whether each of K areas lies within each area range.

    Example:
        >>> in_area_range(np.array([1024.0, 5000.0])).tolist()
        [[True, True], [True, False], [True, True], [False, False]]
    """
    low_A1, high_A1 = np.asarray(AREA_LIMITS_PX).T[:, :, None]
    within: NDArray[np.bool_] = (area_px >= low_A1) & (area_px <= high_A1)
    return within


def match(
    pairs: Pairs, area_D: NDArray[np.float64], area_G: NDArray[np.float64], is_crowd_G: NDArray[np.bool_]
) -> Matches:
    """Which detections find which ground truths, for each area range and IoU threshold.

    Each detection in turn takes the free ground truth that it overlaps most, and of equals the last. Ground truths
    outside the area range, and crowds, are taken only when no other fits; the detection is then ignored. A crowd is
    never used up. A detection that takes nothing is a miss, or ignored when its own area is outside the range.

    Args:
        pairs: What overlaps, detections best first. Pairs below the lowest threshold may be left out.
        area_D: float64 (D,), in pixels.
        area_G: float64 (G,), in pixels, as annotated.
        is_crowd_G: bool (G,).

    Returns:
        What became of both.

    Example:
        >>> ones, pairs = np.ones(2), Pairs(np.array([0, 1, 2]), np.array([0, 0]), np.array([0.9, 0.95]))
        >>> matches = match(pairs, ones, ones[:1], np.zeros(1, bool))
        >>> matches.outcome_ATD[0, 0].tolist(), matches.finder_TG[0].tolist()  # the better-scored one took it
        ([1, 0], [0])
    """
    outcome_ATD, finder_TG = _match(
        pairs.first_D,
        pairs.truth_P,
        pairs.iou_P,
        # A threshold of 1 would otherwise refuse an IoU of 1 that was rounded down.
        np.minimum(IOU_THRESHOLDS, 1 - 1e-10),
        ~in_area_range(area_D),
        ~in_area_range(area_G) | is_crowd_G,
        is_crowd_G,
    )
    return Matches(outcome_ATD, finder_TG)


@numba.njit(cache=True)
def _match(
    first_D: NDArray[np.int64],
    truth_P: NDArray[np.int64],
    iou_P: NDArray[np.float64],
    thresholds_T: NDArray[np.float64],
    outside_AD: NDArray[np.bool_],
    ignored_AG: NDArray[np.bool_],
    is_crowd_G: NDArray[np.bool_],
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    n_areas, n_dets = outside_AD.shape
    outcome_ATD = np.empty((n_areas, len(thresholds_T), n_dets), dtype=np.int8)
    finder_TG = np.full((len(thresholds_T), len(is_crowd_G)), NOT_FOUND, dtype=np.int64)
    for a in range(n_areas):
        for t in range(len(thresholds_T)):
            is_taken_G = np.zeros(len(is_crowd_G), dtype=np.bool_)
            for d in range(n_dets):
                best = -1
                for second_choice in (False, True):
                    best_iou = thresholds_T[t]
                    for p in range(first_D[d], first_D[d + 1]):
                        g = truth_P[p]
                        if ignored_AG[a, g] != second_choice or (is_taken_G[g] and not is_crowd_G[g]):
                            continue
                        if iou_P[p] >= best_iou:
                            best, best_iou = g, iou_P[p]
                    if best >= 0:
                        break
                if best < 0:
                    outcome_ATD[a, t, d] = IGNORED if outside_AD[a, d] else MISS
                else:
                    is_taken_G[best] = True
                    outcome_ATD[a, t, d] = IGNORED if ignored_AG[a, best] else HIT
                    if a == ALL_AREAS and not ignored_AG[a, best]:
                        finder_TG[t, best] = d
    return outcome_ATD, finder_TG

"""Recall and precision over many images, from what became of each mask.

Images enter with a whole-number weight, so that a bootstrap resample is a vector of counts and nothing is copied.

Axes: I images; D masks of all images, best first; T IoU thresholds; A area ranges; E events; R recalls; S statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dico.matching import AREA_NAMES, HIT, IGNORED, MISS

RECALLS: tuple[float, ...] = tuple(np.linspace(0, 1, 101).tolist())
"""COCO reads precision at recalls 0, 0.01, ..., 1."""
EPSILON = float(np.spacing(1))
"""COCO's guard against a division by zero, kept so that figures agree to the last digits."""


@dataclass(frozen=True)
class ImageOutcome:
    """What became of the masks of one image.

    Attributes:
        n_masks: Number of masks, before any budget.
        score_D: float64 (D,): scores within the largest budget, falling.
        outcome_ATD: int8 (A, T, D): what became of each, as :class:`dico.matching.Matches` has it.
        finder_TG: int64 (T, G): the mask that found each ground truth, an index below D, or ``NOT_FOUND``; likewise.
        truths_A: int64 (A,): ground truths within each area range, without crowds.
    """

    n_masks: int
    score_D: NDArray[np.float64]
    outcome_ATD: NDArray[np.int8]
    finder_TG: NDArray[np.int64]
    truths_A: NDArray[np.int64]


class Curve(NamedTuple):
    """Hits and misses by falling score, of one area range.

    Between events, all masks that count are misses: no list of them is needed for each threshold, and a curve of
    five million masks is drawn anew for each resample in milliseconds.

    Attributes:
        counts_D: bool (D,): masks that are misses where no event says otherwise; the others count nowhere else.
        mask_U: int64 (U,): masks with events, rising.
        first_T: int64 (T + 1,): where the events of each threshold begin in E, and E.
        event_E: int64 (E,): the mask of each event, an index below U, rising for each threshold.
        is_hit_E: bool (E,): whether it is a hit, or a mask that counts at other thresholds and is ignored at this one.
    """

    counts_D: NDArray[np.bool_]
    mask_U: NDArray[np.int64]
    first_T: NDArray[np.int64]
    event_E: NDArray[np.int64]
    is_hit_E: NDArray[np.bool_]


@dataclass(frozen=True)
class PooledOutcomes:
    """What became of the masks of many images within one budget.

    Attributes:
        image_D: int32 (D,): index of the image of each mask, masks by falling score.
        curves: What became of each, for each area range.
        hits_IAT: int64 (I, A, T): ground truths of each image that were found.
        truths_IA: int64 (I, A): ground truths of each image.
    """

    image_D: NDArray[np.int32]
    curves: tuple[Curve, ...]
    hits_IAT: NDArray[np.int64]
    truths_IA: NDArray[np.int64]

    def recall(self, weight_I: NDArray[np.int64], area: int = 0) -> NDArray[np.float64]:
        """float64 (T,) in [0, 1]: the share of ground truths found; NaN when there is none.

        Args:
            weight_I: int64 (I,): how often each image counts.
            area: Index of the area range.
        """
        n_truths = weight_I @ self.truths_IA[:, area]
        if n_truths == 0:
            return np.full(self.hits_IAT.shape[2], np.nan)
        shares: NDArray[np.float64] = weight_I @ self.hits_IAT[:, area] / n_truths
        return shares

    def average_precision(self, weight_I: NDArray[np.int64], area: int = 0) -> NDArray[np.float64]:
        """float64 (T,) in [0, 1]: the mean over ``RECALLS`` of the best precision at that recall or a higher one.

        NaN when there is no ground truth.

        Args:
            weight_I: int64 (I,): how often each image counts.
            area: Index of the area range.
        """
        n_truths = int(weight_I @ self.truths_IA[:, area])
        if n_truths == 0:
            return np.full(self.hits_IAT.shape[2], np.nan)
        return _average_precision(self.curves[area], self.image_D, weight_I, n_truths, np.asarray(RECALLS))


def pool(images: Sequence[ImageOutcome], max_det: int) -> PooledOutcomes:
    """The outcomes of the best ``max_det`` masks of each image, by falling score over all images.

    Args:
        images: At least one; of equal scores the mask of the earlier image goes first.
        max_det: The budget.
    """
    n_masks = [min(len(image.score_D), max_det) for image in images]
    score_D = np.concatenate([image.score_D[:max_det] for image in images])
    by_score = np.argsort(-score_D, kind="stable")
    place_D = np.empty_like(by_score)
    place_D[by_score] = np.arange(len(by_score))
    places = np.split(place_D, np.cumsum(n_masks)[:-1])
    cut = [image.outcome_ATD[:, :, :max_det] for image in images]
    return PooledOutcomes(
        image_D=np.repeat(np.arange(len(images), dtype=np.int32), n_masks)[by_score],
        curves=tuple(_curve([outcome[a] for outcome in cut], places) for a in range(len(AREA_NAMES))),
        hits_IAT=np.stack([(outcome_ATD == HIT).sum(axis=2) for outcome_ATD in cut]),
        truths_IA=np.stack([image.truths_A for image in images]),
    )


def _curve(outcomes: Sequence[NDArray[np.int8]], places: Sequence[NDArray[np.int64]]) -> Curve:
    """The curve of images' masks, from int8 (T, D) what became of each and int64 (D,) its place among all."""
    counts_D = np.zeros(sum(map(len, places)), dtype=bool)
    thresholds, masks, hits = [], [], []
    for outcome_TD, place_D in zip(outcomes, places, strict=True):
        counts_D[place_D] = (outcome_TD == MISS).any(axis=0)
        t_E, d_E = np.nonzero((outcome_TD == HIT) | ((outcome_TD == IGNORED) & counts_D[place_D]))
        thresholds.append(t_E)
        masks.append(place_D[d_E])
        hits.append(outcome_TD[t_E, d_E] == HIT)
    threshold_E, mask_E, is_hit_E = map(np.concatenate, (thresholds, masks, hits))
    in_order = np.lexsort((mask_E, threshold_E))
    first_T = np.searchsorted(threshold_E[in_order], np.arange(len(outcomes[0]) + 1))
    mask_U, event_E = np.unique(mask_E[in_order], return_inverse=True)
    return Curve(counts_D, mask_U, first_T, event_E, is_hit_E[in_order])


def bootstrap_intervals(
    statistics: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    n_images: int,
    *,
    resamples: int,
    seed: int,
    confidence: float,
) -> NDArray[np.float64]:
    """The percentile intervals of some statistics over resampled images.

    Args:
        statistics: Maps the weights of the images, int64 (I,) with sum I, to S numbers or NaNs.
        n_images: I, at least 1.
        resamples: Number of resamples, at least 1.
        seed: Of the resampling. Equal seeds draw equal images, which pairs two methods.
        confidence: Share of the resamples within the interval.

    Returns:
        float64 (S, 2): lower and upper ends; NaN for a statistic that no resample has.

    Example:
        >>> values_I = np.array([1.0, 2.0, 3.0])
        >>> mean = lambda weight_I: np.array([weight_I @ values_I / 3])
        >>> bootstrap_intervals(mean, 3, resamples=100, seed=0, confidence=0.5).round(1).tolist()
        [[1.7, 2.3]]
    """
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=resamples)
    values_BS = np.stack([statistics(weight_I) for weight_I in draws])
    ends_S2 = np.full((values_BS.shape[1], 2), np.nan)
    known_S = np.isfinite(values_BS).any(axis=0)
    tail = (1 - confidence) / 2
    if known_S.any():  # without ground truth nothing is
        ends_S2[known_S] = np.nanquantile(values_BS[:, known_S], [tail, 1 - tail], axis=0).T
    return ends_S2


@numba.njit(cache=True, nogil=True)
def _average_precision(
    curve: Curve,
    image_D: NDArray[np.int32],
    weight_I: NDArray[np.int64],
    n_truths: int,
    recalls_R: NDArray[np.float64],
) -> NDArray[np.float64]:
    counts_U, weight_U = curve.counts_D[curve.mask_U], weight_I[image_D[curve.mask_U]]
    # The weight of each mask and of all before it, of those that count.
    counted_U = np.empty(len(weight_U), dtype=np.int64)
    counted, d = 0, 0
    for u in range(len(counted_U)):
        while d <= curve.mask_U[u]:
            counted += weight_I[image_D[d]] * curve.counts_D[d]
            d += 1
        counted_U[u] = counted
    mean_T = np.zeros(len(curve.first_T) - 1)
    misses_E = np.empty(len(curve.event_E), dtype=np.int64)  # misses up to this event
    for t in range(len(mean_T)):
        first, last = curve.first_T[t], curve.first_T[t + 1]
        hits, no_misses = 0, 0
        for e in range(first, last):
            u = curve.event_E[e]
            hits += weight_U[u] * curve.is_hit_E[e]
            no_misses += weight_U[u] * counts_U[u]
            misses_E[e] = counted_U[u] - no_misses
        # From the worst mask to the best, the best precision at this recall or a higher one is a running maximum.
        best_precision, total, r = 0.0, 0.0, len(recalls_R) - 1
        while r >= 0 and recalls_R[r] > hits / n_truths:
            r -= 1  # never reached: precision 0
        for e in range(last - 1, first - 1, -1):
            weight = weight_U[curve.event_E[e]]
            if curve.is_hit_E[e] and weight > 0:
                best_precision = max(best_precision, hits / (misses_E[e] + hits + EPSILON))
                hits -= weight
                while r >= 0 and recalls_R[r] > hits / n_truths:
                    total += best_precision
                    r -= 1
        total += best_precision * (r + 1)  # recall 0
        mean_T[t] = total / len(recalls_R)
    return mean_T

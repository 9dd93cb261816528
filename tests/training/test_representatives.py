"""A few masks that stand for many, against the definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from dico.masks import MaskSet
from training.representatives import representatives


def random_masks(seed, count=9):
    rng = np.random.default_rng(seed)
    masks_NHW = np.zeros((count, 12, 15), dtype=bool)
    for mask_HW in masks_NHW:
        y, x = rng.integers(0, 8, 2)
        mask_HW[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = True
    return MaskSet.from_arrays(masks_NHW, score=rng.random(count))


def satisfied(masks, chosen):
    """The slow way: how well the nearest of the chosen masks stands for each, weighed by its score."""
    dense = [masks[[i]].decode()[0] for i in range(len(masks))]
    iou = [[(a & b).sum() / max(1, (a | b).sum()) for b in dense] for a in dense]
    return sum(masks.score[i] * max(iou[i][j] for j in chosen) for i in range(len(masks)))


def places(masks, given):
    return [next(i for i, rle in enumerate(masks.rles) if rle == one) for one in given.rles]


@pytest.mark.parametrize("seed", range(5))
def test_each_adds_most_and_together_they_are_nearly_the_best(seed):
    masks = random_masks(seed)
    greedy = []
    for _ in range(4):
        rest = [i for i in range(len(masks)) if i not in greedy]
        greedy.append(max(rest, key=lambda i: satisfied(masks, [*greedy, i])))
    assert sorted(places(masks, representatives(masks, 4))) == sorted(greedy)
    best = max(satisfied(masks, some) for some in combinations(range(len(masks)), 4))
    assert satisfied(masks, greedy) >= (1 - 1 / np.e) * best


def test_near_copies_and_empty_masks_come_last_and_order_is_from_part_to_whole():
    masks_NHW = np.zeros((5, 20, 20), dtype=bool)
    masks_NHW[0, :19], masks_NHW[1], masks_NHW[2, :2, :2], masks_NHW[3, 10:14, 10:14] = True, True, True, True
    masks = MaskSet.from_arrays(masks_NHW, score=[0.8, 0.9, 0.1, 0.2, 0.7])
    assert representatives(masks, 3).area_px.tolist() == [4, 16, 400]
    assert representatives(masks, 4).area_px.tolist() == [4, 16, 380, 400]
    assert representatives(masks, 9).area_px.tolist() == [0, 4, 16, 380, 400]
    assert representatives(masks, 3).level.tolist() == [2, 1, 0]


def test_what_many_masks_agree_on_stands_for_them():
    masks_NHW = np.zeros((4, 10, 20), dtype=bool)
    for mask_HW, (x0, x1) in zip(masks_NHW, ((0, 10), (0, 9), (0, 11), (12, 20)), strict=True):
        mask_HW[:, x0:x1] = True
    masks = MaskSet.from_arrays(masks_NHW, score=[0.3, 0.4, 0.4, 0.5])
    assert representatives(masks, 1).area_px.tolist() == [100]


def test_masks_that_are_sure_of_nothing_are_given_nevertheless():
    masks = random_masks(0).with_fields(score=np.full(9, -1.0))
    assert places(masks, representatives(masks, 2)) == sorted([0, 1], key=lambda i: masks.area_px[i])
    assert len(representatives(MaskSet.empty((4, 4)), 3)) == 0

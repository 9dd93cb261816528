"""Published rows are copied by hand: what can be checked of them."""

from __future__ import annotations

import pytest

from training.evaluation.pages import published
from training.evaluation.pages.published import CLICKS, LABELS, MODELS, PublishedRecall


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.name)
def test_averages_are_those_of_the_seven_sets(row: PublishedRecall) -> None:
    known = [ar for ar in row.by_set if ar is not None]
    assert len(known) == len(published.SETS) == 7
    assert row.average == pytest.approx(sum(known) / 7, abs=0.101)  # both were rounded


@pytest.mark.parametrize("row", [*MODELS, *LABELS], ids=lambda row: row.name)
def test_rows_fit_the_columns(row: PublishedRecall) -> None:
    assert len(row.by_set) == len(published.SETS) == len(published.SET_TITLES) == len(published.SET_IMAGES)


def test_the_best_of_six_masks_is_never_worse_than_the_one_that_is_thought_best() -> None:
    assert all(row.max_iou < row.oracle_iou for row in CLICKS)

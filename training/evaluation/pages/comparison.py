"""Ours beside what others publish: one table, with what keeps its rows from being compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from dico.evaluation_report import BudgetFigures
from training.evaluation.pages import published
from training.evaluation.pages.tables import (
    UNKNOWN,
    Table,
    images_of,
    number,
    of_figure,
    recall_at,
    unanswered,
    with_interval,
)
from training.evaluation.suite_report import PointSetReport, SetReport, SuiteReport

_OF_THE_AVERAGE = (
    "The interval of our average is that of independent sets; as COCO and LVIS share images, it is a little too narrow."
)


def comparison(report: SuiteReport) -> Table | None:
    """Ours beside what others publish; None when nothing was measured that they publish."""
    if report.task == "point":
        return _clicks_beside_published(report)
    images = dict(zip(published.SETS, published.SET_IMAGES, strict=True))
    named = [one for one in report.sets if isinstance(one, SetReport) and one.name in images]
    ours = {one.name: one for one in named if one.all_images >= images[one.name]}
    if not ours:
        return None
    rows = [
        (row.name, number(row.average), *(UNKNOWN if ar is None else number(ar) for ar in row.by_set))
        for row in (*published.LABELS, *published.MODELS)
    ]
    average, why_none = _average(ours)
    cells = (_published_cell(ours[name]) if name in ours else UNKNOWN for name in published.SETS)
    rows.append(("ours", average, *cells))
    others = [
        f"{one.name}, of {one.all_images:,} images and not {images[one.name]:,}"
        for one in named
        if one.name not in ours
    ]
    parts = [f"{one.title} on {images_of(one)}" for one in ours.values() if one.is_subset]
    whole = [one.title for one in ours.values() if not one.is_subset]
    notes = [
        "Published rows are figures of whole sets by other people's code, copied from their papers: choice of images,"
        " preparation, resizing and limits may differ from ours, see the notes of each set.",
        *([f"Ours is measured on all images of {_listed(whole)}."] if whole else []),
        *([f"Not comparable, as only a part was measured: {_listed(parts)}."] if parts else []),
        *([f"Called like a published set, but another: {_listed(others)}."] if others else []),
        f"No average of ours: {why_none}." if why_none else _OF_THE_AVERAGE,
        *(f"{one.title}: {unanswered(one)}" for one in ours.values() if one.unanswered),
    ]
    columns = (f"AR at {published.BUDGET:,} masks", "average", *published.SET_TITLES)
    return Table(columns, tuple(rows), frozenset({len(rows) - 1}), tuple(notes))


def _published_cell(one: SetReport) -> str:
    cell = recall_at(one, published.BUDGET)
    return f"{cell}, {images_of(one)}" if one.is_subset and cell != UNKNOWN else cell


def _average(ours: dict[str, SetReport]) -> tuple[str, str]:
    """The average over the seven sets, and when there is none, why."""
    titles = dict(zip(published.SETS, published.SET_TITLES, strict=True))
    missing = [titles[name] for name in published.SETS if name not in ours]
    parts = [titles[name] for name in ours if ours[name].is_subset]
    short = [titles[name] for name in ours if recall_at(ours[name], published.BUDGET) == UNKNOWN]
    reasons = [
        *([f"{_listed(missing)} {_was(missing)} not evaluated"] if missing else []),
        *([f"of {_listed(parts)} only a part was"] if parts else []),
        *([f"{_listed(short)} {_was(short)} not evaluated at {published.BUDGET:,} masks"] if short else []),
    ]
    if reasons:
        return UNKNOWN, "; ".join(reasons)
    return with_interval(*_mean([one.figures.at(published.BUDGET) for one in ours.values()])), ""


def _mean(figures: Sequence[BudgetFigures]) -> tuple[float, tuple[float, float]]:
    """The mean recall of several sets, and its interval: distances to the ends add up as those of independent sets."""
    ar_S = np.array([one.ar for one in figures])
    below_S, above_S = np.abs(np.array([one.ar_interval for one in figures]).T - ar_S)
    mean, n_sets = float(ar_S.mean()), len(figures)
    return mean, (mean - float(np.hypot.reduce(below_S)) / n_sets, mean + float(np.hypot.reduce(above_S)) / n_sets)


def _clicks_beside_published(report: SuiteReport) -> Table | None:
    ours = next((one for one in report.sets if one.name == published.POINT_SET), None)
    if not isinstance(ours, PointSetReport) or ours.all_images < published.POINT_IMAGES:
        return None
    rows = [(row.name, number(row.max_iou), number(row.oracle_iou)) for row in published.CLICKS]
    rows.append(("ours", of_figure(ours.figures.max_iou), of_figure(ours.figures.oracle_iou)))
    notes = [
        "Published rows are figures of whole COCO val2017 by other people's code, copied from their papers.",
        f"Ours is measured on {images_of(ours)}" + (": not comparable." if ours.is_subset else "."),
    ]
    return Table((ours.title, "Max IoU", "Oracle IoU"), tuple(rows), frozenset({len(rows) - 1}), tuple(notes))


def _listed(names: Iterable[str]) -> str:
    """The names as a list in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _was(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"

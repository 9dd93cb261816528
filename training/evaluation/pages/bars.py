"""The figures of one data set as bars, for the page of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from training.evaluation.pages.markup import Markup, element
from training.evaluation.pages.tables import largest, number
from training.evaluation.suite_report import PointSetReport, SetReport

NO_INTERVAL = (math.nan, math.nan)


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: What it is of.
        value: Its length; NaN leaves it empty.
        interval: Drawn as a line over it; NaN for none.
        aside: Said in small letters beside the name.
    """

    name: str
    value: float
    interval: tuple[float, float] = NO_INTERVAL
    aside: str = ""


def bar_cards(one: SetReport | PointSetReport) -> Iterator[Markup]:
    """Yields a card for each kind of figure that there is."""
    if isinstance(one, PointSetReport):
        yield from _cards_of_clicks(one)
        return
    figures, at = one.figures, largest(one)
    budgets = [Bar(f"{of.max_masks:,} masks", of.ar, of.ar_interval) for of in figures.budgets]
    yield card("AR by budget", budgets)
    sizes = (
        ("small", figures.n_small, at.ar_small, at.ap_small),
        ("medium", figures.n_medium, at.ar_medium, at.ap_medium),
        ("large", figures.n_large, at.ar_large, at.ap_large),
    )
    yield card("AR by size", [Bar(size, ar, aside=f"{count:,}") for size, count, ar, _ in sizes])
    precisions = [Bar("all", at.ap, at.ap_interval), Bar("at IoU .50", at.ap50)]
    yield card("AP", [*precisions, *(Bar(size, ap) for size, _, _, ap in sizes)])
    if one.by_kind:
        kinds = [Bar(kind.kind or "-", kind.ar, kind.interval, f"{kind.n_truths:,}") for kind in one.by_kind]
        yield card("AR by kind of ground truth", kinds)
    if one.by_level:
        levels = [
            Bar(f"level {level.level}", level.ar_share, aside=f"{number(level.masks_per_image)} masks")
            for level in one.by_level
        ]
        yield card("AR by level of mask", levels, most=at.ar, note=f"Points of AR; together they are {number(at.ar)}.")


def card(title: str, bars: list[Bar], *, most: float = 100.0, note: str = "") -> Markup:
    """A card of bars.

    Args:
        title: Above them.
        bars: One below the other.
        most: The value of a full bar.
        note: Below them.
    """
    rows = [
        element(
            "tr",
            element("th", bar.name, [element("small", f" {bar.aside}")] if bar.aside else [], scope="row"),
            element("td", element("div", _drawn(bar, most), class_="bar")),
            element("td", number(bar.value)),
        )
        for bar in bars
    ]
    below = [element("p", note, class_="note")] if note else []
    table = element("table", element("tbody", rows), class_="bars")
    return element("section", element("h3", title), table, below, class_="card")


def _drawn(bar: Bar, most: float) -> list[Markup]:
    """The bar, and the line of its interval."""
    if math.isnan(bar.value) or not most > 0:
        return []
    drawn = [element("i", style=f"width: {100 * bar.value / most:.2f}%")]
    low, high = bar.interval
    if not math.isnan(low):
        drawn.append(element("b", style=f"left: {100 * low / most:.2f}%; width: {100 * (high - low) / most:.2f}%"))
    return drawn


def _cards_of_clicks(one: PointSetReport) -> Iterator[Markup]:
    figures = one.figures
    pairs = (("Max IoU", figures.max_iou), ("Oracle IoU", figures.oracle_iou))
    yield card("IoU after one click", [Bar(name, figure.mean, figure.interval) for name, figure in pairs])
    if figures.clicks:
        names = [f"IoU {100 * at.threshold:g} %" for at in figures.clicks]
        numbers = [at.number for at in figures.clicks]
        bars = [Bar(name, figure.mean, figure.interval) for name, figure in zip(names, numbers, strict=True)]
        yield card("Clicks until", bars, most=figures.most_clicks, note=f"At most {figures.most_clicks} clicks.")
        reached = [at.reached for at in figures.clicks]
        bars = [Bar(name, figure.mean, figure.interval) for name, figure in zip(names, reached, strict=True)]
        yield card("Reached by, in percent", bars)

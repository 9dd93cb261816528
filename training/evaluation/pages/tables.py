"""What a report says, as tables of text: made once, then written as Markdown and as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dico.evaluation_report import BudgetFigures, caution
from training.evaluation.point_report import Figure, PointReport
from training.evaluation.suite_report import PointSetReport, SetReport, SuiteReport

UNKNOWN = "-"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        columns: Their heads; the first column names the rows.
        rows: As many cells each as there are columns.
        ours: Indices of the rows that were measured here, among rows of others.
        notes: What has to be known to read it, a sentence each.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    ours: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


def number(value: float, digits: int = 1) -> str:
    """A figure, or "-" where it is not known.

    Example:
        >>> number(12.345), number(math.nan)
        ('12.3', '-')
    """
    return UNKNOWN if math.isnan(value) else f"{value:.{digits}f}"


def with_interval(value: float, ends: tuple[float, float]) -> str:
    """A figure with its interval, where that is known.

    Example:
        >>> with_interval(12.345, (10.0, 14.04)), with_interval(12.345, (math.nan, math.nan))
        ('12.3 (10.0-14.0)', '12.3')
    """
    if math.isnan(value) or math.isnan(ends[0]):
        return number(value)
    return f"{number(value)} ({number(ends[0])}-{number(ends[1])})"


def images_of(one: SetReport | PointSetReport) -> str:
    """How many images of how many were evaluated, such as ``"all 5,000 images"`` or ``"200 of 5,000 images"``."""
    count = one.figures.n_images
    return f"{count:,} of {one.all_images:,} images" if one.is_subset else f"all {count:,} images"


def facts(report: SuiteReport, when: str = "") -> tuple[tuple[str, str], ...]:
    """What was evaluated and how, as pairs of a word and what it is.

    Args:
        report: What was found.
        when: The date; empty leaves it out.
    """
    how = {
        "whole-image": "all masks of an image against all ground truths, blind to classes, at IoU .50:.95",
        "point": "one click in the middle of each ground truth; the IoU of the mask that comes back",
    }
    images = sum(one.figures.n_images for one in report.sets)
    everything = sum(one.all_images for one in report.sets)
    share = f"all {images:,}" if images == everything else f"{images:,} of {everything:,}"
    sets = f"{len(report.sets)} data set{'' if len(report.sets) == 1 else 's'}"
    skipped = f"; {len(report.skipped)} not evaluated, see below" if report.skipped else ""
    pairs = {
        "Evaluated": report.subject,
        "Task": how[report.task],
        "Images": f"{share} images of {sets}{skipped}",
        "Verified": report.verified or "not compared with COCO's own code in this run",
        "Made with": ", ".join(f"{name} {version}" for name, version in report.made_with.items()),
        "When": when,
    }
    if report.task == "point" and not report.verified:
        del pairs["Verified"]  # COCO's code measures no clicks
    return tuple((word, what) for word, what in pairs.items() if what)


def overview(report: SuiteReport) -> Table:
    """The headline figures of each data set, with 95 % intervals."""
    if report.task == "point":
        clicked = [one for one in report.sets if isinstance(one, PointSetReport)]
        return _overview_of_clicks(clicked)
    sets = [one for one in report.sets if isinstance(one, SetReport)]
    budgets = sorted({budget.max_masks for one in sets for budget in one.figures.budgets})
    recalls = (f"AR at {budget:,}" for budget in budgets)
    columns = ("data set", "images", "ground truths", "masks an image", *recalls, "AP", "AP50")
    rows = tuple(
        (
            one.title,
            images_of(one).removesuffix(" images"),
            f"{one.figures.n_truths:,}",
            number(one.figures.masks_per_image),
            *(recall_at(one, budget) for budget in budgets),
            with_interval(largest(one).ap, largest(one).ap_interval),
            number(largest(one).ap50),
        )
        for one in sets
    )
    notes = (f"AP and AP50 are those at {budgets[-1]:,} masks. Intervals are of 95 %, over resampled images.",)
    return Table(columns, rows, notes=notes if budgets else ())


def largest(one: SetReport) -> BudgetFigures:
    """The figures at the largest budget."""
    return one.figures.budgets[-1]


def headline(one: SetReport | PointSetReport) -> tuple[tuple[str, str], ...]:
    """The few figures of a set that are looked at first, as pairs of a word and the figure."""
    figures = one.figures
    if isinstance(one, PointSetReport):
        first = (("Max IoU", of_figure(one.figures.max_iou)), ("Oracle IoU", of_figure(one.figures.oracle_iou)))
        return (*first, ("ground truths", f"{figures.n_truths:,}"))
    at = largest(one)
    return (
        (f"AR at {at.max_masks:,} masks", with_interval(at.ar, at.ar_interval)),
        ("AP", with_interval(at.ap, at.ap_interval)),
        ("AP50", number(at.ap50)),
        ("masks an image", number(one.figures.masks_per_image)),
        ("ground truths", f"{figures.n_truths:,}"),
    )


def budgets_table(one: SetReport) -> Table:
    """All figures of a set, one row a budget."""
    figures = one.figures
    sizes = {"small": figures.n_small, "medium": figures.n_medium, "large": figures.n_large}
    recalls = (f"AR {size} ({count:,})" for size, count in sizes.items())
    columns = ("masks", "AR", *recalls, "AP", "AP50", *(f"AP {size}" for size in sizes))
    rows = tuple(
        (
            f"{at.max_masks:,}",
            with_interval(at.ar, at.ar_interval),
            *map(number, (at.ar_small, at.ar_medium, at.ar_large)),
            with_interval(at.ap, at.ap_interval),
            *map(number, (at.ap50, at.ap_small, at.ap_medium, at.ap_large)),
        )
        for at in figures.budgets
    )
    note = "Small is up to 32 x 32 pixels, large from 96 x 96; in brackets, how many ground truths there are."
    return Table(columns, rows, notes=(note,))


def levels_table(one: SetReport) -> Table | None:
    """What the masks of each level find; None when there are no levels."""
    if not one.by_level:
        return None
    rows = tuple((f"{at.level}", number(at.masks_per_image), number(at.ar_share)) for at in one.by_level)
    note = "0 is the whole object, larger is finer. The points of all levels sum to the AR of the largest budget."
    return Table(("level of mask", "masks an image", "points of AR"), rows, notes=(note,))


def kinds_table(one: SetReport) -> Table | None:
    """How each kind of ground truth is found; None when the annotations name no kinds."""
    if not one.by_kind:
        return None
    rows = tuple((at.kind or UNKNOWN, f"{at.n_truths:,}", with_interval(at.ar, at.interval)) for at in one.by_kind)
    return Table(("kind of ground truth", "ground truths", "AR"), rows)


def clicks_table(figures: PointReport) -> Table | None:
    """How many clicks it takes; None when only one was made."""
    if not figures.clicks:
        return None
    rows = tuple(
        (f"{100 * at.threshold:g} %", of_figure(at.number), f"{number(at.reached.mean)} %") for at in figures.clicks
    )
    note = f"At most {figures.most_clicks} clicks; where the IoU is never reached, all of them count."
    return Table(("IoU to reach", "clicks", "ground truths that reach it"), rows, notes=(note,))


def tables_of(one: SetReport | PointSetReport) -> tuple[Table, ...]:
    """All tables of one set that there are."""
    if isinstance(one, PointSetReport):
        tables = [clicks_table(one.figures)]
    else:
        tables = [budgets_table(one), levels_table(one), kinds_table(one)]
    return tuple(table for table in tables if table is not None)


def notes_of(one: SetReport | PointSetReport) -> tuple[str, ...]:
    """What has to be known to read the figures of a set: its own notes, and what did not go as it should."""
    left_out = one.left_out
    part = f"Only a part was measured: {images_of(one)}, evenly spaced."
    gap = f"{left_out:,} image{' is' if left_out == 1 else 's are'} left out: the ground truth cannot be read."
    return (
        *([part] if one.figures.n_images + left_out < one.all_images else []),
        *([gap] if left_out else []),
        *([unanswered(one)] if one.unanswered else []),
        *caution(one.figures.n_images),
        *one.notes,
    )


def unanswered(one: SetReport | PointSetReport) -> str:
    """How many images have no answer, and what that means, as a sentence."""
    have, count = ("image has", "counts") if one.unanswered == 1 else ("images have", "count")
    as_what = "as without masks" if isinstance(one, SetReport) else "with ground truths that are not found"
    return f"{one.unanswered:,} {have} no answer and {count} {as_what}."


def recall_at(one: SetReport, budget: int) -> str:
    """AR with its interval at one budget; "-" when that was not evaluated."""
    found = [at for at in one.figures.budgets if at.max_masks == budget]
    return with_interval(found[0].ar, found[0].ar_interval) if found else UNKNOWN


def _overview_of_clicks(sets: Sequence[PointSetReport]) -> Table:
    thresholds = sorted({at.threshold for one in sets for at in one.figures.clicks})
    numbers = (f"NoC@{100 * threshold:g}" for threshold in thresholds)
    columns = ("data set", "images", "ground truths", "Max IoU", "Oracle IoU", *numbers)
    rows = []
    for one in sets:
        clicks = {at.threshold: of_figure(at.number) for at in one.figures.clicks}
        images = images_of(one).removesuffix(" images")
        headline = (of_figure(one.figures.max_iou), of_figure(one.figures.oracle_iou))
        counts = (clicks.get(threshold, UNKNOWN) for threshold in thresholds)
        rows.append((one.title, images, f"{one.figures.n_truths:,}", *headline, *counts))
    note = "Mean IoU in percent after one click: of the mask that is thought best, and of the best one"
    of_clicks = "; NoC is the number of clicks until an IoU is reached" if thresholds else ""
    return Table(columns, tuple(rows), notes=(f"{note}{of_clicks}. Intervals are of 95 %, over resampled images.",))


def of_figure(figure: Figure) -> str:
    """A figure of clicks with its interval."""
    return with_interval(figure.mean, figure.interval)

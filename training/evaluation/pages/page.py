"""The report of an evaluation as one static page, that opens from disk and needs nothing else.

Above all what was measured and how, then ours beside published figures, then each data set: its figures as bars and as
tables, and its worst and best images. There is no script on the page, so that it can be mailed, printed and archived.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path

from dico.atomic import atomic_file
from dico.ground_truth import AnnotatedImage
from dico.image import load_image
from dico.masks import MaskSet
from dico.page_parts import jpeg_url, page_asset
from training.evaluation.pages import overlays
from training.evaluation.pages.bars import bar_cards
from training.evaluation.pages.comparison import comparison
from training.evaluation.pages.markdown import TITLES
from training.evaluation.pages.markup import Markup, element, joined
from training.evaluation.pages.tables import (
    Table,
    facts,
    headline,
    images_of,
    largest,
    notes_of,
    overview,
    tables_of,
)
from training.evaluation.suite_report import ImageSummary, PointSetReport, SetReport, Skipped, SuiteReport

Look = Callable[[SetReport, ImageSummary], tuple[AnnotatedImage, MaskSet | None]]
"""Gives the ground truth of an image of a data set, and its masks once more; None when there is no answer.

What it raises as ValueError or OSError is told in the place of the picture."""

JPEG_QUALITY = 80
_FIGURE = re.compile(r"([\d.,]*\d|-),? (.+)")


def write_suite_page(report: SuiteReport, output: str | Path, *, look: Look, when: str = "") -> None:
    """Writes the page. Pictures are made one after another, so that few are in memory.

    Args:
        report: What was found.
        output: The html file; one that exists is replaced.
        look: Is asked about the worst and best images of each set.
        when: The date; empty leaves it out.

    Raises:
        IsADirectoryError: when ``output`` is a folder.
    """
    with atomic_file(Path(output)) as temporary, open(temporary, "w", encoding="utf-8") as page:
        page.writelines(_page(report, look, when))


def _page(report: SuiteReport, look: Look, when: str) -> Iterator[str]:
    title = TITLES[report.task]
    style = page_asset("shared.css") + resources.files(__package__).joinpath("page.css").read_text("utf-8")
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="color-scheme" content="light dark">\n'
    yield element("title", f"{title} · {report.subject}")
    yield f"\n<style>\n{style}</style>\n</head>\n<body>\n"
    yield element(
        "header",
        element("p", title, class_="kicker"),
        element("h1", report.subject),
        _facts(report, when),
        class_="top",
    )
    yield "\n<main>\n"
    beside = comparison(report)
    if beside is not None:
        yield _section("beside", "Beside published figures", _table(beside, "Beside published figures"))
    if report.sets:
        yield _section("sets", "All sets", _table(overview(report), "All sets", links=True))
    if report.skipped:
        yield _section("skipped", "Not evaluated", element("ul", map(_skipped, report.skipped), class_="skipped"))
    for place, one in enumerate(report.sets):
        yield f'<section id="set-{place}">\n'
        yield from _set(one, look)
        yield "\n</section>\n"
    yield "</main>\n</body>\n</html>\n"


def _facts(report: SuiteReport, when: str) -> Markup:
    pairs = (element("div", element("dt", word), element("dd", what)) for word, what in facts(report, when)[1:])
    return element("dl", pairs, class_="facts")


def _section(name: str, title: str, *content: str) -> Markup:
    return element("section", element("h2", title), *content, id=name)


def _set(one: SetReport | PointSetReport, look: Look) -> Iterator[str]:
    tag = element("span", images_of(one), class_="tag part" if one.is_subset else "tag")
    yield element("h2", one.title, " ", tag)
    notes = notes_of(one)
    if notes:
        yield element("ul", (element("li", note) for note in notes), class_="notes")
    tiles = (element("div", element("dt", word), element("dd", _figure(what))) for word, what in headline(one))
    yield element("dl", tiles, class_="tiles")
    yield element("div", bar_cards(one), class_="cards")
    tables = tables_of(one)
    if tables:
        inside = (_table(table, f"{one.title}, {table.columns[0]}") for table in tables)
        yield element("details", element("summary", "The figures as tables"), inside)
    if isinstance(one, SetReport):
        yield from _pictures(one, look)


def _pictures(one: SetReport, look: Look) -> Iterator[str]:
    best = [image for image in one.best if image not in one.worst]  # of few images, the same ones are both
    for title, images, legend in (("Lowest recall", one.worst, [_legend()]), ("Highest recall", best, [])):
        if images:
            yield element("div", element("h3", title), legend, class_="picture-head")
            yield '\n<div class="pictures">\n'
            for image in images:
                yield _picture(one, image, look)
                yield "\n"
            yield "</div>"


def _picture(one: SetReport, image: ImageSummary, look: Look) -> Markup:
    """A figure with the overlay; where that cannot be made, with the reason."""
    found = f"{image.n_truths:,} ground truth{'' if image.n_truths == 1 else 's'}"
    try:
        if image.path is None:
            raise ValueError("nobody knows where it lies")
        annotated, masks = look(one, image)
        seen = overlays.overlay(
            load_image(image.path), annotated, masks or MaskSet.empty(annotated.size_hw), max_det=largest(one).max_masks
        )
    except (ValueError, OSError) as error:
        shown = element("div", element("p", f"The picture cannot be shown: {error}"), class_="missing")
    else:
        found = f"{seen.n_found:,} of {seen.n_truths:,} found"
        height, width = seen.picture.shape[:2]
        source = jpeg_url(seen.picture, quality=JPEG_QUALITY)
        shown = element(
            "img", src=source, alt=f"{image.file_name}: {found}", width=width, height=height, loading="lazy"
        )
    name = element("span", image.file_name or f"image {image.image_id}", class_="name", title=image.file_name)
    line = element("span", element("b", f"AR {image.ar:.1f}"), f" · {found} · {image.n_masks:,} masks")
    return element("figure", shown, element("figcaption", name, line))


def _legend() -> Markup:
    meaning = {
        overlays.FOUND: f"found at IoU {overlays.FOUND_IOU}",
        overlays.MISSED: "missed",
        overlays.CROWD: "crowd, not counted",
    }
    swatches = [
        element("li", element("i", style=f"background: rgb{overlays.COLOURS[label]}"), text)
        for label, text in meaning.items()
    ]
    outline = element("i", class_="outline", style=f"border-color: rgb{overlays.OUTLINE_COLOUR}")
    return element("ul", swatches, element("li", outline, "mask that found it"), class_="legend")


def _skipped(one: Skipped) -> Markup:
    command = [element("pre", element("code", one.command), tabindex=0)] if one.command else []
    return element("li", element("b", one.title), f": {one.reason}", command)


def _table(table: Table, label: str, *, links: bool = False) -> Markup:
    """A table that scrolls sideways where it is too wide; ``links`` lead from its rows to the sections of the sets."""
    head = element("tr", (element("th", column, scope="col") for column in table.columns))
    rows = (
        element(
            "tr",
            element("th", element("a", row[0], href=f"#set-{place}") if links else row[0], scope="row"),
            (element("td", _figure(cell)) for cell in row[1:]),
            class_="ours" if place in table.ours else None,
        )
        for place, row in enumerate(table.rows)
    )
    grid = element("table", element("thead", head), element("tbody", joined(rows)))
    scroll = element("div", grid, class_="scroll", role="region", aria_label=label, tabindex=0)
    notes = element("div", (element("p", note) for note in table.notes), class_="note")
    return joined([scroll, notes]) if table.notes else scroll


def _figure(cell: str) -> str | Iterable[str]:
    """A cell; what follows its figure, such as an interval, is set small."""
    parts = _FIGURE.fullmatch(cell)
    if parts is None:
        return cell
    return joined([parts[1], *(element("small", f" {piece}") for piece in parts[2].split(", "))])

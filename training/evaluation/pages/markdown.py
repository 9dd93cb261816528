"""The report of an evaluation as Markdown, such as GitHub shows: the tables, and the notes that belong to them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from training.evaluation.pages.comparison import comparison
from training.evaluation.pages.tables import (
    Table,
    facts,
    notes_of,
    overview,
    tables_of,
)
from training.evaluation.suite_report import PointSetReport, SetReport, Skipped, SuiteReport

TITLES = {"whole-image": "Whole-image evaluation", "point": "Evaluation of clicks"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&!])")


def suite_markdown(report: SuiteReport, *, when: str = "") -> str:
    """The report as text: what was evaluated, ours beside published rows, all sets, then each of them.

    Args:
        report: What was found.
        when: The date; empty leaves it out.
    """
    return "\n\n".join(_blocks(report, when)) + "\n"


def _blocks(report: SuiteReport, when: str) -> Iterator[str]:
    yield f"# {TITLES[report.task]}"
    yield "\n".join(f"- {word}: {_text(what)}" for word, what in facts(report, when))
    beside = comparison(report)
    if beside is not None:
        yield "## Beside published figures"
        yield from _table(beside)
    if report.sets:
        yield "## All sets"
        yield from _table(overview(report))
    for one in report.sets:
        yield f"## {_text(one.title)}"
        yield from _set(one)
    if report.skipped:
        yield "## Not evaluated"
        yield from map(_skipped, report.skipped)


def _set(one: SetReport | PointSetReport) -> Iterator[str]:
    notes = notes_of(one)
    if notes:
        yield "\n".join(f"- {_text(note)}" for note in notes)
    for table in tables_of(one):
        yield from _table(table)


def _skipped(one: Skipped) -> str:
    """A line, and the command in a block of its own, so that it can be copied as it is."""
    line = f"- **{_text(one.title)}**: {_text(one.reason)}"
    if not one.command:
        return line
    longest = max(map(len, re.findall("`+", one.command)), default=0)
    fence = "`" * max(3, longest + 1)
    indented = "\n".join(f"  {command}" for command in one.command.splitlines())
    return f"{line}\n\n  {fence}\n{indented}\n  {fence}"


def _table(table: Table) -> Iterator[str]:
    lines = [table.columns, *table.rows]
    cells = [[_text(cell) for cell in line] for line in lines]
    for place in table.ours:
        cells[place + 1] = [f"**{cell}**" for cell in cells[place + 1]]
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    yield "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])
    if table.notes:
        yield "\n".join(map(_text, table.notes))


def _text(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))

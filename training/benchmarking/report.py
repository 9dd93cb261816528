"""A benchmark of a machine as a value: to a file and back, as a table, and beside that of another machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.benchmarking.figures import Figure, shown
from training.benchmarking.machine import Load, Machine
from training.benchmarking.settings import QUICK

FILE = "benchmark.json"
"""What the file of a report is called."""
FORMAT = 1
"""Of the file; changes when an older one cannot be read any more, or its figures mean something else."""


@dataclass(frozen=True)
class BenchmarkReport:
    """What was measured, and on what.

    Attributes:
        machine: The machine.
        settings: What was measured, JSON-ready; what differs from equal settings cannot be compared.
        load: What else the machine was doing.
        figures: In order.
        failed: Parts that could not be measured, and why.
    """

    machine: Machine
    settings: Mapping[str, Any]
    load: Load
    figures: tuple[Figure, ...]
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """It as text that :meth:`from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> BenchmarkReport:
        """The report in a text.

        Raises:
            ValueError: when it is not one of these.
        """
        try:
            held = json.loads(text)
            if held["format"] != FORMAT:
                raise ValueError(f"format must be {FORMAT}, got {held['format']}: measure again with one version")
            return cls(
                Machine(**held["machine"]),
                held["settings"],
                Load(**held["load"]),
                tuple(Figure(**figure) for figure in held["figures"]),
                held["failed"],
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"it must be a benchmark.json of tools/benchmark.py ({error!r})") from error

    def notes(self) -> Iterator[str]:
        """What has to be known of the figures, as sentences."""
        if self.settings.get("quick"):
            yield "quick: tiny sizes, which say nothing of speed; not comparable with what is measured without --quick"
        if warning := self.load.warning(self.machine.usable_cores):
            yield f"noise: {warning}"
        for part, reason in self.failed.items():
            yield f"{part} was not measured: {reason}"


def read_report(path: Path) -> BenchmarkReport:
    """The report in a file, or in the ``benchmark.json`` of a folder.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is none, with the file.
    """
    path = path / FILE if path.is_dir() else path
    try:
        return BenchmarkReport.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def markdown(report: BenchmarkReport) -> str:
    """The report as a page: the machine, what has to be known, and one table."""
    rows = [
        [figure.part, figure.name, shown(figure.value, figure.unit), shown(figure.p90, figure.unit), f"{figure.runs}"]
        for figure in report.figures
    ]
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items() if value not in ("", [], None))
    lines = [
        "# Benchmark",
        "",
        report.machine.sentence(),
        "",
        *(f"{note[:1].upper()}{note[1:]}." for note in report.notes()),
        "",
        *_table(["part", "what", "median", "90 % within", "runs"], rows),
        "",
        f"Measured with: {settings}.",
    ]
    return "\n".join(lines) + "\n"


def compared(first: BenchmarkReport, second: BenchmarkReport, names: tuple[str, str]) -> str:
    """Two reports side by side.

    Args:
        first: The one that ratios are of.
        second: Of a ratio above 1 this one is faster, or needs less memory.
        names: What the two are called.

    Returns:
        Text: what differs beside the machines, notes, and a table with every figure of either.
    """
    both = {(figure.part, figure.name): figure for figure in second.figures}
    rows = []
    for figure in first.figures:
        other = both.pop((figure.part, figure.name), None)
        ratio = "-" if other is None else f"{figure.times_better(other):.2f}"
        found = "-" if other is None else shown(other.value, other.unit)
        rows.append([figure.part, figure.name, shown(figure.value, figure.unit), found, ratio])
    rows += [[figure.part, figure.name, "-", shown(figure.value, figure.unit), "-"] for figure in both.values()]
    lines = []
    for name, report in zip(names, (first, second), strict=True):
        lines += [f"{name}: {report.machine.sentence()}", *(f"  {note}" for note in report.notes())]
    lines += [f"not comparable: {difference}" for difference in _differences(first.settings, second.settings)]
    table = _table(["part", "what", *names, "ratio"], rows)
    return "\n".join([*lines, "", *table, "", f"ratio: how many times better {names[1]} is"]) + "\n"


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """What was measured differently; the many sizes of a quick benchmark are one difference."""
    said: Set[str] = set()
    if first.get("quick", False) != second.get("quick", False):
        yield "one is quick, the other is not"
        said = QUICK.keys()
    for key in sorted((first.keys() | second.keys()) - said):
        if first.get(key) != second.get(key):
            yield f"{key} was {first.get(key)!r} and {second.get(key)!r}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table of Markdown whose columns are also straight as plain text; numbers stand to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    marks = ["<" if column < 2 else ">" for column in range(len(head))]

    def line(cells: list[str]) -> str:
        columns = zip(cells, marks, widths, strict=True)
        return "| " + " | ".join(f"{cell:{mark}{width}}" for cell, mark, width in columns) + " |"

    rule = [f"{'-' * (width - 1)}{':' if mark == '>' else '-'}" for mark, width in zip(marks, widths, strict=True)]
    return [line(cells) for cells in (head, rule, *rows)]

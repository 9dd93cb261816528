"""Every benchmark beside this file, one after the other, and their figures as one table.

Each benchmark prints as its last line a JSON object (or a list of them) with ``name``, ``value``, ``reference``,
``ratio`` and ``unit``. One that fails does not stop the others, but the exit code is then 1. One that lacks an input
(the photographs with human masks) says what it needs, ends with the exit code 77, and is no failure.

Example:
    python -m benchmarks.run_all
    python -m benchmarks.run_all --only ncut merging
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
COLUMNS = ("name", "value", "reference", "ratio", "unit")
SKIPPED = 77
"""Exit code of a benchmark that lacks an input; that of Automake's tests."""
MAIN_GUARD = 'if __name__ == "__main__":'


@dataclass(frozen=True)
class Outcome:
    """What one benchmark gave: its figures, what went wrong, or what it lacks."""

    script: str
    figures: tuple[dict[str, Any], ...] = ()
    failure: str = ""
    skipped: str = ""


def find_scripts() -> list[str]:
    """The names of the benchmarks: the files that do something when run; the others are what these share."""
    return [
        path.stem
        for path in sorted(FOLDER.glob("*.py"))
        if path.name != Path(__file__).name and MAIN_GUARD in path.read_text(encoding="utf-8")
    ]


def run_script(name: str) -> Outcome:
    """Runs one benchmark, its output passed on as it comes."""
    print(f"--- {name}", flush=True)
    lines = []
    command = [sys.executable, "-m", f"{FOLDER.name}.{name}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=FOLDER.parent) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.strip())
    last = next((line for line in reversed(lines) if line), "")
    if process.returncode == SKIPPED:
        return Outcome(name, skipped=last)
    if process.returncode:
        return Outcome(name, failure=f"exit code {process.returncode}")
    return read_figures(name, last)


def read_figures(name: str, line: str) -> Outcome:
    """The figures in a benchmark's last line.

    Args:
        name: Name of the script.
        line: A JSON object, or a list of them.
    """
    try:
        loaded = json.loads(line)
    except json.JSONDecodeError:
        return Outcome(name, failure=f"its last line is not JSON: {line[:80]!r}")
    rows = loaded if isinstance(loaded, list) else [loaded]
    for row in rows:
        missing = [key for key in COLUMNS if key not in row] if isinstance(row, dict) else list(COLUMNS)
        if missing:
            return Outcome(name, failure=f"its last line lacks {', '.join(missing)}")
    return Outcome(name, figures=tuple(rows))


def table(outcomes: Sequence[Outcome]) -> str:
    """All figures in aligned columns, then what was skipped, then the failures."""
    rows = [COLUMNS, *(tuple(_text(row[key]) for key in COLUMNS) for outcome in outcomes for row in outcome.figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{outcome.script} {outcome.skipped}" for outcome in outcomes if outcome.skipped]
    return "\n".join(
        [*lines, *(f"FAILED {outcome.script}: {outcome.failure}" for outcome in outcomes if outcome.failure)]
    )


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks and prints the table; 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these alone (file names without .py)")
    arguments = parser.parse_args(argv)
    scripts = find_scripts()
    unknown = set(arguments.only or ()) - set(scripts)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(scripts)}")
    outcomes = [run_script(name) for name in arguments.only or scripts]
    print(f"\n{table(outcomes)}")
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

"""Every benchmark beside this file, one after the other, and their figures as one table.

Each benchmark prints as its last line a JSON object (or a list of them) with ``name``, ``value``, ``reference``,
``ratio`` and ``unit``. One that fails does not stop the others, but the exit code is then 1.

Example:
    python benchmarks/run_all.py
    python benchmarks/run_all.py --only ncut merging
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

COLUMNS = ("name", "value", "reference", "ratio", "unit")


@dataclass(frozen=True)
class Outcome:
    """What one benchmark gave: its figures, or what went wrong."""

    script: str
    figures: tuple[dict[str, Any], ...] = ()
    failure: str = ""


def run_script(script: Path) -> Outcome:
    """Runs one benchmark, its output passed on as it comes."""
    print(f"--- {script.name}", flush=True)
    lines = []
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.strip())
    if process.returncode:
        return Outcome(script.name, failure=f"exit code {process.returncode}")
    last = next((line for line in reversed(lines) if line), "")
    return read_figures(script.name, last)


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
    """All figures in aligned columns, then the failures."""
    rows = [COLUMNS, *(tuple(_text(row[key]) for key in COLUMNS) for outcome in outcomes for row in outcome.figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *(f"FAILED {o.script}: {o.failure}" for o in outcomes if o.failure)])


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmarks and prints the table; 1 when one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these alone (file names without .py)")
    arguments = parser.parse_args(argv)
    scripts = {
        path.stem: path for path in sorted(Path(__file__).parent.glob("*.py")) if path.stem != Path(__file__).stem
    }
    unknown = set(arguments.only or ()) - scripts.keys()
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(scripts)}")
    outcomes = [run_script(scripts[name]) for name in arguments.only or scripts]
    print(f"\n{table(outcomes)}")
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

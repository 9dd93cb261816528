"""What benchmarks share: clocks, peaks of memory, one core, figures as the last line, and a word for missing inputs."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from benchmarks.run_all import SKIPPED

T = TypeVar("T")

_STATUS, _NEW_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def best_time(function: Callable[[], T], runs: int) -> tuple[T, float]:
    """The result of a function and the shortest time of several runs, in seconds."""
    result, shortest = timed(function)
    for _ in range(runs - 1):
        result, seconds = timed(function)
        shortest = min(shortest, seconds)
    return result, shortest


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """The result of a function, and how long it took in seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def with_peak(function: Callable[[], T]) -> tuple[T, float]:
    """The result of a function, and the peak of resident memory above what the process had before it, in GB.

    Linux counts the peak anew when it is asked to. Other systems count it from the start of the process: there, a
    function seems to need less when the process had more memory once than it has now.
    """
    if _NEW_PEAK.exists():
        _NEW_PEAK.write_text("5", encoding="ascii")
    before_gb = peak_gb()
    result = function()
    return result, peak_gb() - before_gb


def peak_gb() -> float:
    """The peak of this process's resident memory, in GB."""
    if _STATUS.is_file():  # what getrusage says begins with the peak of the process that started this one
        lines = (line.split() for line in _STATUS.read_text(encoding="ascii").splitlines())
        return next(int(words[1]) for words in lines if words[0] == "VmHWM:") * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


@contextmanager
def one_core() -> Iterator[None]:
    """Everything inside runs on one core: one thread a library, and the process bound where the system can do that."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    if cores:
        os.sched_setaffinity(0, {max(cores)})
    try:
        with threadpool_limits(1):
            yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


def figure(
    name: str, value: float, reference: float | None, unit: str, *, higher_is_better: bool = False
) -> dict[str, Any]:
    """One row of the table that ``run_all`` prints; ``ratio`` is how many times better ``value`` is.

    Example:
        >>> figure("merging", 0.5, 60.0, "s")["ratio"], figure("AR", 22.0, 11.0, "%", higher_is_better=True)["ratio"]
        (120.0, 2.0)
    """
    better, worse = (value, reference) if higher_is_better else (reference, value)
    ratio = better / worse if better is not None and worse else None
    return {"name": name, "value": value, "reference": reference, "ratio": ratio, "unit": unit}


def print_figures(figures: Sequence[dict[str, Any]]) -> None:
    """Prints the last line of a benchmark."""
    print(json.dumps(figures[0] if len(figures) == 1 else list(figures)))


def skipped(needs: str) -> int:
    """Says what the benchmark needs and does not find; the exit code that tells ``run_all`` so."""
    print(f"skipped: needs {needs}")
    return SKIPPED

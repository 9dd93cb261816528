"""What benchmarks share: clocks, one core, figures as the last line, and a word for missing inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from benchmarks.run_all import SKIPPED
from training.benchmarking.clock import peak_gb, timed, with_peak

__all__ = [
    "best_time", "figure", "one_core", "peak_gb", "print_figures", "skipped", "timed", "with_peak",
]  # fmt: skip

T = TypeVar("T")


def best_time(function: Callable[[], T], runs: int) -> tuple[T, float]:
    """The result of a function and the shortest time of several runs, in seconds."""
    result, shortest = timed(function)
    for _ in range(runs - 1):
        result, seconds = timed(function)
        shortest = min(shortest, seconds)
    return result, shortest


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

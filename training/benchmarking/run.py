"""Runs the parts of a benchmark, each in a process of its own, so that peaks are, too; one that dies ends nothing."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from training.benchmarking.figures import Figure
from training.benchmarking.machine import Load, load_average, this_machine
from training.benchmarking.report import BenchmarkReport
from training.benchmarking.settings import BenchmarkSettings

PARTS = {
    "labelling": ("labelling", "measure_labelling"),
    "training": ("training_steps", "measure_training"),
    "inference": ("inference", "measure_inference"),
    "clicks": ("clicks", "measure_clicks"),
}
"""Where each is measured: module and function."""


def run_benchmark(settings: BenchmarkSettings, parts: Sequence[str], *, tell: Callable[[str], None]) -> BenchmarkReport:
    """Measures a machine.

    Args:
        settings: What is measured.
        parts: Which of :data:`PARTS`.
        tell: Is told of each part before it begins.

    Returns:
        The report; a part that fails is said in it.
    """
    start = load_average()
    figures: list[Figure] = []
    failed: dict[str, str] = {}
    for part in parts:
        tell(part)
        try:
            figures += in_own_process(part, settings)
        except Exception as error:  # whatever it is, it is this part's failure and not the end of the others
            failed[part] = f"{type(error).__name__}: {error}".splitlines()[0]
    return BenchmarkReport(this_machine(), settings.described(), Load(start, load_average()), tuple(figures), failed)


def in_own_process(part: str, settings: BenchmarkSettings) -> list[Figure]:
    """The figures of a part, measured in a new process.

    Args:
        part: One of :data:`PARTS`.
        settings: What is measured.

    Raises:
        RuntimeError: when the process dies.
        Exception: whatever the part raises.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, part, settings).result()
        except BrokenProcessPool as error:
            raise RuntimeError("its process was killed; perhaps there was not enough memory") from error


def measure(part: str, settings: BenchmarkSettings) -> list[Figure]:
    """The figures of a part, measured in this process.

    Args:
        part: One of :data:`PARTS`.
        settings: What is measured.

    Raises:
        Exception: whatever the part raises.
    """
    module, function = PARTS[part]
    # Only what the part needs is imported: the memory of the rest is not its own.
    found: list[Figure] = getattr(importlib.import_module(f"training.benchmarking.{module}"), function)(settings)
    return found

"""How long something takes, and how much memory: clocks and peaks of this process."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_STATUS, _NEW_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def timed(function: Callable[[], T]) -> tuple[T, float]:
    """The result of a function, and how long it took in seconds."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def times(function: Callable[[int], object], runs: int) -> Sequence[float]:
    """How long each of several runs took, in seconds, after one that does not count.

    Args:
        function: Is given the number of the run, from 0; and 0 for the one that does not count.
        runs: How many count.
    """
    function(0)
    return [timed(lambda run=run: function(run))[1] for run in range(runs)]  # type: ignore[misc]


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

"""Where the time goes: seconds by stage, measured within a stopwatch; without one, a stage costs next to nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_seconds_by_stage: ContextVar[dict[str, float] | None] = ContextVar("seconds_by_stage", default=None)


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measures the stages that run within the block.

    Yields:
        Seconds by name of the stage, filled as the stages end; a stage that ran twice has the sum.

    Example:
        >>> with stopwatch() as seconds:
        ...     with stage("divide"):
        ...         pass
        >>> list(seconds)
        ['divide']
    """
    seconds: dict[str, float] = {}
    token = _seconds_by_stage.set(seconds)
    try:
        yield seconds
    finally:
        _seconds_by_stage.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The block is a stage: its time goes to the stopwatch around it, when there is one."""
    seconds = _seconds_by_stage.get()
    if seconds is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

"""Measures the images of one data set, in one process or several, and keeps every result until all are there."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from dico.interrupt import Interrupt
from dico.speed import Speed
from training.evaluation.running.journal import ResultJournal
from training.evaluation.running.processes import results_of

log = logging.getLogger(__name__)

LINE_EVERY_S = 30.0
"""How often progress is told where there is no terminal for a bar."""


class Task(Protocol):
    """An image to be measured; as text, what messages call it."""

    @property
    def key(self) -> int | str:
        """What names its result among those of the data set."""
        ...


class Result(Protocol):
    """What became of an image."""

    @property
    def key(self) -> int | str:
        """The key of its task."""
        ...

    @property
    def fault(self) -> str:
        """Why the image was not answered, as a sentence; empty when it was."""
        ...

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        ...


T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=Result)


def run_set(
    tasks: Sequence[T],
    make_work: Callable[[], Callable[[T], R]],
    journal: ResultJournal,
    read: Callable[[dict[str, Any]], R],
    *,
    processes: int,
    name: str,
) -> list[R]:
    """The results of all images, in the order of the tasks, of which those in the journal are not done again.

    Images that could not be answered are tried again, as the reason may be gone.

    The first Ctrl-C (or SIGTERM) is heeded between images: compiled code would turn it into an error of its own, which
    would be the image's fault, and the end of nothing. The second is heeded at once.

    Args:
        tasks: One an image; their keys differ.
        make_work: As for :func:`training.evaluation.running.processes.results_of`.
        journal: Gets the results; what it has already is taken.
        read: Reads what a result's ``to_json`` gave.
        processes: How many.
        name: What a progress bar, or a line of progress, calls the data set.

    Raises:
        training.evaluation.running.processes.WorkerError: when a process died; what was done is in the journal.
        KeyboardInterrupt: after Ctrl-C; likewise.
    """
    keys = {task.key for task in tasks}
    results: dict[int | str, R] = {}
    for plain in journal.results():
        result = read(plain)
        if result.key in keys:
            results[result.key] = result
    left = [task for task in tasks if task.key not in results or results[task.key].fault]
    processes = max(1, min(processes, len(left)))
    fresh = results_of(left, make_work, processes=processes, name_of=str)
    found_done = len(tasks) - len(left)
    progress = tqdm(fresh, total=len(tasks), initial=found_done, desc=name, unit=" images", disable=None)
    lines = _Lines(name, len(tasks), found_done, warm_up=processes)
    with Interrupt() as interrupt:
        for result in progress:
            journal.append(result.to_json())
            results[result.key] = result
            if progress.disable:
                lines.count()
            if interrupt.requested:
                raise KeyboardInterrupt
    return [results[task.key] for task in tasks]


class _Lines:
    """Tells on standard error now and then how far a data set is.

    Args:
        name: Of the data set.
        total: Its images.
        found_done: How many of them were done before.
        warm_up: As for :class:`dico.speed.Speed`.
    """

    def __init__(self, name: str, total: int, found_done: int, *, warm_up: int) -> None:
        self._name = name
        self._total = total
        self._found_done = found_done
        self._now_done = 0
        self._speed = Speed(total - found_done, warm_up=warm_up)
        self._last = time.monotonic()

    def count(self) -> None:
        """One more is done."""
        self._now_done += 1
        now = time.monotonic()
        speed = self._speed.told(self._now_done, now)
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        done = self._found_done + self._now_done
        print(f"{self._name}: {done:,} of {self._total:,} images, {speed}", file=sys.stderr, flush=True)

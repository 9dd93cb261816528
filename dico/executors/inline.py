"""The executor that needs no other process: it does the work where it is called."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from dico.job import Job
from dico.task import Outcome, Task, Work


class InlineExecutor:
    """Does the work in this process, one task after the other.

    Numerical libraries are held to one thread, as the last bits of an eigenvector change with their number; Pillow's
    warnings about odd files are silenced, as what matters of them is in the outcome. An image that crashes the process
    ends the run, and one that hangs stops it: only the executors with worker processes can watch those.
    """

    def __str__(self) -> str:
        return "this process"

    @contextmanager
    def session(self, job: Job) -> Iterator[_InlineSession]:
        """A session that works when an outcome is collected."""
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield _InlineSession(job.work())


class _InlineSession:
    window = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tasks: deque[tuple[int, Task]] = deque()

    def submit(self, key: int, task: Task) -> None:
        self._tasks.append((key, task))

    def withdraw(self) -> list[int]:
        keys = [key for key, _ in self._tasks]
        self._tasks.clear()
        return keys

    def collect(self, timeout_s: float) -> tuple[int, Outcome]:
        key, task = self._tasks.popleft()
        return key, self._work(task)

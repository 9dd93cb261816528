"""Who does the work: an executor turns (key, task) into (key, outcome), and knows nothing of stores or resuming."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from threadpoolctl import threadpool_limits

from dico.task import Outcome, Task

Work = Callable[[Task], Outcome]
"""Pure, and never raises: what goes wrong with a task is its outcome."""


class Session(Protocol):
    """Workers that are ready."""

    @property
    def window(self) -> int:
        """How many tasks are worth having under way at once."""
        ...

    def submit(self, key: int, task: Task) -> None:
        """Hands over a task; returns at once."""
        ...

    def collect(self) -> tuple[int, Outcome]:
        """Waits for the outcome of any task that was handed over and not collected yet."""
        ...


class Executor(Protocol):
    """Makes workers."""

    def session(self, work: Work) -> AbstractContextManager[Session]:
        """Workers that do ``work``, for as long as the ``with`` block runs."""
        ...


class InlineExecutor:
    """Does the work in this process, one task after the other.

    Numerical libraries are held to one thread, as the last bits of an eigenvector change with their number; Pillow's
    remarks on odd files are silenced, as what matters of them is in the outcome.
    """

    @contextmanager
    def session(self, work: Work) -> Iterator[Session]:
        """A session that works when an outcome is collected."""
        with threadpool_limits(limits=1), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield _InlineSession(work)


class _InlineSession:
    window = 1

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tasks: deque[tuple[int, Task]] = deque()

    def submit(self, key: int, task: Task) -> None:
        self._tasks.append((key, task))

    def collect(self) -> tuple[int, Outcome]:
        key, task = self._tasks.popleft()
        return key, self._work(task)

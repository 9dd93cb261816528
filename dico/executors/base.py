"""What does the work: an executor turns (key, task) into (key, result), and knows nothing of stores or resuming."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from dico.job import Job
from dico.task import Result, Task


class WorkerError(RuntimeError):
    """There are no workers and there will be none, so that no image would ever be done; the message says why."""


def check_limits(num_workers: int | None, timeout_s: float | None) -> None:
    """What all executors with several workers ask of their options.

    Raises:
        ValueError: when ``num_workers`` is not positive or ``timeout_s`` is negative.
    """
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers must be at least 1, got {num_workers}")
    if timeout_s is not None and timeout_s < 0:
        raise ValueError(f"timeout_s must be at least 0, got {timeout_s}")


class Session(Protocol):
    """Workers that are there while a ``with`` block runs."""

    @property
    def window(self) -> int:
        """How many tasks are worth having handed over at once: those in work, and a few to go on with."""
        ...

    def submit(self, key: int, task: Task) -> None:
        """Hands over a task; returns at once."""
        ...

    def withdraw(self) -> list[int]:
        """Takes back the tasks that no worker has begun, and returns their keys."""
        ...

    def collect(self, timeout_s: float) -> tuple[int, Result] | None:
        """Waits for the result of any task that was handed over and not collected yet.

        Args:
            timeout_s: Seconds after which None is returned, so that the caller can look at the clock. An executor that
                works in the caller's process returns when its task is done.

        Raises:
            WorkerError: when no worker is of use, or new ones die before they are ready and there are no others.
        """
        ...


class Executor(Protocol):
    """Makes workers."""

    def session(self, job: Job) -> AbstractContextManager[Session]:
        """Workers that do a job's work while the ``with`` block runs; none is left behind, however it ends."""
        ...

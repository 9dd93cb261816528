"""Supervises workers: who is ready, has which task, died, or takes too long. Knows nothing of processes or clusters."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dico.executors.base import WorkerError
from dico.executors.starts import Starts
from dico.task import Failed, Lost, Outcome, Result, Task

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
"""Longest wait for an event: a death that no event tells of is noticed after this."""
MAX_FAILED_STARTS = 3
"""So many starts that fail in a row end the run, unless other workers are ready: then it goes on with those."""
AHEAD = 2
"""Tasks handed over for each worker: one in work, and one that it gets before the last result is written."""
PATIENCE_S = 30.0
"""When tasks have waited so long and no worker was ready, the log says so."""


@dataclass(frozen=True)
class Ready:
    """A worker has made its work and waits for tasks."""

    worker: int


@dataclass(frozen=True)
class Done:
    """A worker has done its task."""

    worker: int
    outcome: Outcome


@dataclass(frozen=True)
class GaveBack:
    """A worker lives and could not do its task, such as for want of features. When it can again, it is Ready."""

    worker: int
    lost: Lost


@dataclass(frozen=True)
class Died:
    """A worker has died; ``lost`` says of what."""

    worker: int
    lost: Lost


@dataclass(frozen=True)
class Broken:
    """A worker could not make its work: ``error`` says why.

    It ends the run when no worker of the session was ever ready, as no other one would do better then, and when it
    comes from a worker that was ready already, or from none.
    """

    worker: int
    error: str


Event = Ready | Done | GaveBack | Died | Broken


class Workers(Protocol):
    """Workers of some kind, such as processes. They have numbers, and no number is used twice."""

    def start(self) -> int:
        """Starts a worker and returns its number at once; that it is ready is an event.

        Raises:
            OSError: when there is no room for another one now.
            WorkerError: when no worker would be of use.
        """
        ...

    def give(self, worker: int, task: Task) -> None:
        """Gives a ready worker its next task. If it is dead already, that is an event."""
        ...

    def kill(self, worker: int) -> None:
        """Ends a worker, whatever it does, and forgets it: no event tells of it."""
        ...

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What happened since the last call; waits for something to happen, but no longer than this.

        Raises:
            WorkerError: when no worker is of use any more.
        """
        ...

    def shortage(self) -> str:
        """What workers that do not get ready may be waiting for, as the end of a sentence; empty when nobody knows."""
        return ""


class Supervisor:
    """A session over workers that may die.

    Each worker has one task at a time, so that it is known which one it died with; only ready workers are given any;
    those that died are replaced. The caller decides what is done with a task whose worker died.

    Args:
        workers: The kind of workers.
        count: How many at once, at least 1.
        timeout_s: A worker that takes longer over a task is killed, and the task has failed; None waits for ever.
        start_timeout_s: A worker that takes longer to get ready is killed, and its start has failed; None waits for
            ever.
    """

    def __init__(
        self,
        workers: Workers,
        count: int,
        *,
        timeout_s: float | None = None,
        start_timeout_s: float | None = None,
    ) -> None:
        self.window = AHEAD * count
        self._workers = workers
        self._count = count
        self._timeout_s = timeout_s
        self._waiting: deque[tuple[int, Task]] = deque()
        self._starts = Starts(start_timeout_s)
        self._idle: list[int] = []
        self._busy: dict[int, _Assignment] = {}
        self._results: deque[tuple[int, Result]] = deque()
        self._outage_since: float | None = None
        self._told_of_outage = False

    def submit(self, key: int, task: Task) -> None:
        """Hands over a task."""
        self._waiting.append((key, task))

    def withdraw(self) -> list[int]:
        """Takes back what no worker has begun."""
        keys = [key for key, _ in self._waiting]
        self._waiting.clear()
        return keys

    def collect(self, timeout_s: float) -> tuple[int, Result] | None:
        """The next result, or None after a while; see :meth:`dico.executors.base.Session.collect`."""
        until = time.monotonic() + timeout_s
        while True:
            self._start_workers()
            self._assign()
            if self._results:
                return self._results.popleft()
            now = time.monotonic()
            if now >= until:
                return None
            deadlines = [until, *(assignment.deadline for assignment in self._busy.values())]
            for event in self._workers.wait(max(0.0, min(HEARTBEAT_S, min(deadlines) - now))):
                self._handle(event)
            self._kill_overdue()
            self._tell_of_outage()

    def _start_workers(self) -> None:
        wanted = min(self._count, len(self._busy) + len(self._waiting))
        now = time.monotonic()
        while len(self._starts) + len(self._idle) + len(self._busy) < wanted and self._starts.may_begin(now):
            try:
                self._starts.begin(self._workers.start(), now)
            except OSError as error:
                if not self._starts and not self._starts.any_was_ready:
                    raise WorkerError(f"no worker could be started ({error}); try fewer with --num-workers") from error
                log.warning("no further worker could be started: %s", error)
                self._fail_start(Lost(f"not started at all ({error})"))

    def _assign(self) -> None:
        while self._idle and self._waiting:
            worker, (key, task) = self._idle.pop(), self._waiting.popleft()
            limit_s = float("inf") if self._timeout_s is None else self._timeout_s
            self._busy[worker] = _Assignment(key, time.monotonic() + limit_s)
            self._workers.give(worker, task)

    def _handle(self, event: Event) -> None:
        match event:
            case Ready(worker):
                self._starts.succeed(worker)
                self._idle.append(worker)
            case Done(worker, outcome):
                self._results.append((self._busy.pop(worker).key, outcome))
                self._idle.append(worker)
            case GaveBack(worker, lost):
                self._results.append((self._busy.pop(worker).key, lost))
                self._starts.begin(worker, time.monotonic())
            case Died(worker, lost):
                if worker in self._busy:  # the caller, who knows of what, will say so
                    self._results.append((self._busy.pop(worker).key, lost))
                    return
                log.warning("a worker without a task was %s", lost.reason)
                if worker in self._idle:
                    self._idle.remove(worker)
                elif lost.blameless:
                    self._starts.drop(worker)
                else:
                    self._fail_start(lost, worker)
            case Broken(worker, error):
                if worker not in self._starts or not self._starts.any_was_ready:
                    raise WorkerError(error)
                log.warning("a worker could not get ready: %s", error)
                self._workers.kill(worker)
                self._fail_start(Lost(f"stopped by an error: {error}"), worker)

    def _fail_start(self, lost: Lost, worker: int | None = None) -> None:
        self._starts.fail(time.monotonic(), worker)
        if self._starts.failed_in_a_row >= MAX_FAILED_STARTS and not self._idle and not self._busy:
            story = f"\n{lost.traceback}" if lost.traceback else ""
            raise WorkerError(
                f"{self._starts.failed_in_a_row} workers in a row died before they were ready, the last of them"
                f" {lost.reason}; try fewer with --num-workers, or --executor inline to see what happens{story}"
            )

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for worker, assignment in list(self._busy.items()):
            if assignment.deadline <= now:
                self._workers.kill(worker)
                del self._busy[worker]
                story = f"took longer than {self._timeout_s:g} s; a slow image may pass with a larger --timeout"
                self._results.append((assignment.key, Failed("timeout", story)))
        for worker in self._starts.overdue(now):
            log.warning("a worker was not ready after %g s and is killed", self._starts.limit_s)
            self._workers.kill(worker)
            self._fail_start(Lost(f"killed as it was not ready after {self._starts.limit_s:g} s"), worker)

    def _tell_of_outage(self) -> None:
        now = time.monotonic()
        if self._idle or self._busy or not self._waiting:
            self._outage_since, self._told_of_outage = None, False
        elif self._outage_since is None:
            self._outage_since = now
        elif now >= self._outage_since + PATIENCE_S and not self._told_of_outage:
            self._told_of_outage = True
            shortage = self._workers.shortage()
            log.warning("no worker is ready yet; the run goes on when one is%s", f"; {shortage}" if shortage else "")


@dataclass(frozen=True)
class _Assignment:
    """What a worker works on: a task's key, and when it has to be done by the monotonic clock."""

    key: int
    deadline: float

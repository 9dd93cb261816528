"""Workers that are processes of this machine: what they say, who died, and that nobody waits for one that does not."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from itertools import count
from multiprocessing.connection import wait

from dico.executors.feature_server import FeatureServer
from dico.executors.process import WorkerProcess
from dico.executors.supervisor import Died, Event, Workers
from dico.task import Lost, Task

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""A process that closed its connection has this long to die of what it dies of, so that the reason is known."""
FAREWELL_S = 5.0
"""At the end of a session, processes that were killed have this long to be gone."""
POLL_S = 0.01
"""How often to look whether a process is gone that is about to go."""


class LocalWorkers(Workers):
    """Processes of this machine, as :class:`dico.executors.supervisor.Workers` says.

    Args:
        job: File descriptor of a file that holds the pickled job.
        server: Gives the features; None when workers make their own.
    """

    def __init__(self, job: int, server: FeatureServer | None = None) -> None:
        self._job = job
        self._server = server
        self._numbers = count()
        self._processes: dict[int, WorkerProcess] = {}
        self._grace_ends: dict[int, float] = {}  # of those that closed their connection and are not seen dead yet
        self._killed: list[WorkerProcess] = []  # perhaps not gone yet: one that waits for a disk cannot be killed

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._processes):
            self.kill(worker)
        until = time.monotonic() + FAREWELL_S
        while self._forget_the_gone() and time.monotonic() < until:
            time.sleep(POLL_S)
        if self._killed:
            pids = ", ".join(str(process.pid) for process in self._killed)
            log.warning("killed and still there, as what waits for a disk or a file server is: process %s", pids)

    @property
    def pids(self) -> dict[int, int]:
        """Process ids by number of the worker."""
        return {number: process.pid for number, process in self._processes.items()}

    def start(self) -> int:
        """Starts a process.

        Raises:
            OSError: when the system allows no more of them.
            WorkerError: when the feature server can serve no more.
        """
        number = next(self._numbers)
        features = None if self._server is None else self._server.connect()
        try:
            self._processes[number] = WorkerProcess(number, self._job, features)
        finally:
            if features is not None:
                os.close(features)
        return number

    def give(self, worker: int, task: Task) -> None:
        """Gives a worker a task."""
        self._processes[worker].give(task)

    def kill(self, worker: int) -> None:
        """Kills a worker and forgets it; that its process is gone is not waited for."""
        process = self._processes.pop(worker)
        self._grace_ends.pop(worker, None)
        process.kill()
        self._killed.append(process)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What workers said, and who died.

        Raises:
            WorkerError: when the feature server can serve no more: what workers die of then is not their images' fault.
        """
        self._forget_the_gone()
        by_channel = {p.channel: number for number, p in self._processes.items() if number not in self._grace_ends}
        readable = wait(list(by_channel), min(timeout_s, POLL_S) if self._grace_ends else timeout_s)
        speaking = sorted(by_channel[channel] for channel in readable if channel in by_channel)
        said = [event for number in speaking if (event := self._heard(number)) is not None]
        spoke = {event.worker for event in said}
        died = [event for number in list(self._processes) if number not in spoke and (event := self._death(number))]
        if self._server is not None:
            self._server.check()
        return [*said, *died]

    def _heard(self, number: int) -> Event | None:
        event = self._processes[number].receive()
        if event is None:
            self._grace_ends[number] = time.monotonic() + GRACE_S
        return event

    def _death(self, number: int) -> Died | None:
        """Its death, if it is dead, or takes too long to die."""
        process = self._processes[number]
        grace_ends = self._grace_ends.get(number)
        if process.is_gone() and (grace_ends is not None or not process.channel.poll()):
            lost = process.lost()
        elif grace_ends is not None and time.monotonic() >= grace_ends:
            lost = Lost("killed, as it had closed its connection and did not end", process.tail())
        else:
            return None
        self.kill(number)  # also what a dead one started
        return Died(number, lost)

    def _forget_the_gone(self) -> list[WorkerProcess]:
        """Those killed that are still there."""
        self._killed = [process for process in self._killed if not process.is_gone()]
        return self._killed

"""The executor that keeps processes of this machine at work, and outlives whatever becomes of them."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from multiprocessing.connection import wait
from typing import IO

from dico.executors.base import WorkerError
from dico.executors.feature_server import FeatureServer
from dico.executors.machine import usable_cpus, usable_memory
from dico.executors.process import WorkerProcess
from dico.executors.supervisor import Died, Event, Supervisor, Workers
from dico.executors.worker import REMEDY
from dico.job import Job
from dico.task import Task

DEFAULT_TIMEOUT_S = 600.0
"""Far more than any photograph takes; without a limit, one that hangs would hold a worker for ever."""
WORKER_BYTES = 1_000_000_000
"""What a worker may come to fill: twice what it does over a photograph of 24 megapixels."""


class PoolExecutor:
    """Does the work in processes of this machine.

    A worker that crashes, is killed or takes too long is replaced, and takes nobody with it; Ctrl-C does not reach the
    workers; they die with this process, even when it is killed. A job that shares its extractor gets a feature server
    in this process, see :mod:`dico.executors.feature_server`.

    Args:
        num_workers: How many at once; None for as many as cores and memory allow.
        timeout_s: A task that takes longer has failed, and its worker is killed; 0 or None waits for ever.

    Raises:
        ValueError: when ``num_workers`` is not positive or ``timeout_s`` is negative.
    """

    def __init__(self, num_workers: int | None = None, *, timeout_s: float | None = DEFAULT_TIMEOUT_S) -> None:
        if num_workers is None:
            num_workers = max(1, min(usable_cpus(), usable_memory() // WORKER_BYTES))
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        if timeout_s is not None and timeout_s < 0:
            raise ValueError(f"timeout_s must be at least 0, got {timeout_s}")
        self.num_workers = num_workers
        self.timeout_s = timeout_s or None

    def __str__(self) -> str:
        return "1 process" if self.num_workers == 1 else f"{self.num_workers} processes"

    @contextmanager
    def session(self, job: Job) -> Iterator[Supervisor]:
        """Workers that do a job's work; they start when there are tasks.

        Args:
            job: Picklable.

        Raises:
            TypeError: when the job cannot be pickled.
            Exception: whatever the job raises when it makes an extractor to be shared.
        """
        with ExitStack() as stack:
            pickled = stack.enter_context(_pickled(job))
            # It starts before the workers, who would wait for it, and stops after them, who wait for answers.
            server = stack.enter_context(FeatureServer(job)) if job.shares_extractor else None
            workers = stack.enter_context(LocalWorkers(pickled.fileno(), server))
            yield Supervisor(workers, self.num_workers, timeout_s=self.timeout_s)


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

    def __enter__(self) -> LocalWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
        while self._processes:
            self._processes.popitem()[1].bury()

    @property
    def pids(self) -> dict[int, int]:
        """Process ids by number of the worker."""
        return {number: process.pid for number, process in self._processes.items()}

    def start(self) -> int:
        """Starts a process.

        Raises:
            WorkerError: when the system allows no more of them.
        """
        number = next(self._numbers)
        features = None if self._server is None else self._server.connect()
        try:
            self._processes[number] = WorkerProcess(number, self._job, features)
        except OSError as error:
            raise WorkerError(f"no process could be started ({error}); try fewer with --num-workers") from error
        return number

    def give(self, worker: int, task: Task) -> None:
        """Gives a worker a task."""
        self._processes[worker].give(task)

    def kill(self, worker: int) -> None:
        """Kills a worker and forgets it."""
        process = self._processes.pop(worker)
        process.kill()
        process.bury()

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What workers said, and who died."""
        by_channel = {process.channel: number for number, process in self._processes.items()}
        speaking = {by_channel[channel] for channel in wait(list(by_channel), timeout_s) if channel in by_channel}
        silent = {n for n, process in self._processes.items() if n not in speaking and process.died()}
        return [self._event(number, gone=number in silent) for number in sorted(speaking | silent)]

    def _event(self, number: int, *, gone: bool) -> Event:
        event = None if gone else self._processes[number].receive()
        return Died(number, self._processes.pop(number).bury()) if event is None else event


@contextmanager
def _pickled(job: Job) -> Iterator[IO[bytes]]:
    """A file without a name that all workers read: through a pipe, a large job would hold up who sends it."""
    with tempfile.TemporaryFile() as file:
        try:
            pickle.dump(job, file, protocol=pickle.HIGHEST_PROTOCOL)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(f"the job cannot be pickled for other processes ({error}): {REMEDY}") from error
        file.flush()
        yield file

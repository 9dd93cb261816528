"""The executor with worker processes on this machine, which survives whatever happens to them."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from dico.executors.base import check_limits
from dico.executors.feature_server import FeatureServer
from dico.executors.local_workers import LocalWorkers
from dico.executors.machine import usable_workers
from dico.executors.supervisor import Supervisor
from dico.executors.worker import REMEDY
from dico.job import Job

DEFAULT_TIMEOUT_S = 600.0
"""Far more than any photograph takes; without a limit, one that hangs would hold a worker for ever."""
START_TIMEOUT_S = 600.0
"""Far more than loading libraries and weights takes, also over a slow network."""


class PoolExecutor:
    """Does the work in processes of this machine.

    A worker that crashes, is killed or takes too long is replaced, and the others go on; Ctrl-C does not reach the
    workers; they die with this process, even when it is killed. A job that shares its extractor gets a feature server
    in this process, see :mod:`dico.executors.feature_server`.

    Args:
        num_workers: How many at once; None for as many as cores and memory allow.
        timeout_s: A task that takes longer has failed, and its worker is killed; 0 or None waits for ever.

    Raises:
        ValueError: when ``num_workers`` is not positive or ``timeout_s`` is negative.
    """

    def __init__(self, num_workers: int | None = None, *, timeout_s: float | None = DEFAULT_TIMEOUT_S) -> None:
        check_limits(num_workers, timeout_s)
        self.num_workers = usable_workers() if num_workers is None else num_workers
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
            yield Supervisor(workers, self.num_workers, timeout_s=self.timeout_s, start_timeout_s=START_TIMEOUT_S)


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

"""One of the processes that train a model: joins the others, trains, and leaves a report of how it ended."""

from __future__ import annotations

import logging
import os
import pickle
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

Main = Callable[[int], int]
"""What a process does: gets the number of the attempt, from 0 (a later one goes on from the last checkpoint), and gives
an exit code: 0 done, 130 stopped. A function of a module, or a ``functools.partial`` of one, as processes import it."""
TIMEOUT = timedelta(minutes=60)
"""How long a process waits for the others: they may be measuring the model."""
_LOST = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket", re.IGNORECASE)


class WorkerError(RuntimeError):
    """A training process ended without a reason that Python could give; or the traceback of one that had a reason."""


@dataclass(frozen=True)
class Job:
    """What the processes of one machine are to do in one attempt.

    Attributes:
        main: What each does.
        attempt: Its number.
        device: ``cuda`` or ``cpu``.
        first_rank: Of this machine's processes.
        world_size: Processes of all machines.
        host: Where all of them meet,
        port: and through which door.
        reports: An empty folder.
        log_level: What the process that starts them logs,
        log_format: and how, so that theirs looks the same.
    """

    main: Main
    attempt: int
    device: str
    first_rank: int
    world_size: int
    host: str
    port: int
    reports: Path
    log_level: int = logging.WARNING
    log_format: str = logging.BASIC_FORMAT

    def report(self, local: int) -> Report | None:
        """What a process of this machine left; None when it was killed."""
        path = self.reports / str(local)
        if not path.is_file():
            return None
        report: Report = pickle.loads(path.read_bytes())
        return report

    def leave(self, local: int, report: Report) -> None:
        """Writes the report of a process."""
        temporary = self.reports / f"{local}.tmp"
        temporary.write_bytes(pickle.dumps(report))
        temporary.replace(self.reports / str(local))


@dataclass(frozen=True)
class Report:
    """How a process ended.

    Attributes:
        code: What ``main`` gave.
        error: What it raised.
        trace: Where, in words.
        lost: Whether it did so because another process was gone.
    """

    code: int = 0
    error: Exception | None = None
    trace: str = ""
    lost: bool = False


def work(local: int, job: Job) -> None:
    """What a new process runs.

    Args:
        local: Its number on this machine.
        job: What to do.

    Raises:
        SystemExit: when ``main`` failed; the report says how.
    """
    use_one_thread()
    logging.basicConfig(level=job.log_level, format=job.log_format)
    os.environ["LOCAL_RANK"] = str(local)
    try:
        store = TCPStore(job.host, job.port, is_master=False, timeout=TIMEOUT)
        join_group(job.device, local, store=store, rank=job.first_rank + local, world_size=job.world_size)
        code = job.main(job.attempt)
        distributed.destroy_process_group()
    except Exception as error:
        job.leave(local, Report(1, _portable(error), traceback.format_exc(), lost_a_peer(error)))
        raise SystemExit(1) from error
    job.leave(local, Report(code))


def join_group(device: str, local: int, *, store: TCPStore | None = None, rank: int = -1, world_size: int = -1) -> None:
    """Joins the group, with a GPU of this process's own where there are GPUs.

    Args:
        device: ``cuda`` or ``cpu``.
        local: The number of this process on its machine.
        store: Where the processes meet; None, with the next two, takes what the environment says.
        rank: The number of this process.
        world_size: How many there are.
    """
    backend = "gloo"
    if device == "cuda":
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"  # what processes say beside gradients waits for no GPU
    distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)


def use_one_thread() -> None:
    """One thread for arithmetic, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that read images
        torch.set_num_threads(1)


def lost_a_peer(error: Exception) -> bool:
    """Whether a process ends because another one did."""
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))
    )


def _portable(error: Exception) -> Exception:
    """The error, or its text when it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    return error

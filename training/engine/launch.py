"""Starts the processes that train one model, and starts all of them again when one is killed.

The group lives and dies together: gradients of a process that is gone cannot be replaced, so the others are ended and
everybody goes on from the last checkpoint. Every attempt meets in a new place, as what is left of the last one may
still hold the old: on one machine, a port that the system chooses; on several, the next port after the given one.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import start_processes

from dico.interrupt import Interrupt
from training.engine.trainer import NOTICE
from training.engine.worker import TIMEOUT, Job, Main, WorkerError, join_group, use_one_thread, work

log = logging.getLogger(__name__)
STOPPED = 130
GRACE_S = 10.0
"""How long the others may take to find out that one is gone, and why they end, before they are ended."""


@dataclass(frozen=True)
class Group:
    """The processes that train one model.

    Attributes:
        processes: On this machine.
        machines: With as many processes each.
        machine_rank: The number of this machine, from 0.
        dist_url: ``tcp://HOST:PORT`` of machine 0; "auto" when there is one machine.
        device: ``cuda`` gives each process a GPU of its own; ``cpu``.
        relaunches: How often the group may be started again.

    Raises:
        ValueError: for numbers that make no group, and for a missing address.
    """

    processes: int = 1
    machines: int = 1
    machine_rank: int = 0
    dist_url: str = "auto"
    device: str = "cpu"
    relaunches: int = 3

    def __post_init__(self) -> None:
        if self.processes < 1 or self.machines < 1:
            raise ValueError(f"processes and machines must be at least 1, got {self.processes} and {self.machines}")
        if not 0 <= self.machine_rank < self.machines:
            raise ValueError(f"machine_rank must be below machines={self.machines}, got {self.machine_rank}")
        address = urlsplit(self.dist_url)
        given = address.scheme == "tcp" and address.hostname and address.port
        if not given and (self.machines > 1 or self.dist_url != "auto"):
            raise ValueError(f"dist_url must be tcp://HOST:PORT of machine 0, got {self.dist_url!r}")
        if self.device == "cuda" and self.processes > torch.cuda.device_count():
            here = torch.cuda.device_count()
            raise ValueError(f"processes must be at most the GPUs here, {here}, got {self.processes}; see device=cpu")

    @property
    def world_size(self) -> int:
        """Processes of all machines."""
        return self.processes * self.machines


def launch(main: Main, group: Group) -> int:
    """Trains with a group of processes, or in this one when it is the only one.

    Under ``torchrun``, whose environment says which process this is, ``main`` is called and the group is torchrun's.
    Each process uses one thread for arithmetic unless OMP_NUM_THREADS is set: two on a busy machine wait for each
    other.

    Args:
        main: What each process does.
        group: How many, and where.

    Returns:
        What ``main`` gave in the first process; 130 after Ctrl-C or SIGTERM.

    Raises:
        WorkerError: when processes were killed too often, or ended without a word.
        Exception: what ``main`` raised, in any of them; all are ended then.
    """
    if {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= os.environ.keys():
        return _under_torchrun(main, group.device)
    if group.world_size == 1:
        use_one_thread()
        return main(0)
    for attempt in range(group.relaunches + 1):
        code = _attempt(main, group, attempt)
        if code is not None:
            return code
    raise WorkerError(
        f"training processes were killed {group.relaunches + 1} times, too often to go on: often the machine is out of "
        "memory (lower optim.batch_size, data.workers or data.image_size). --resume goes on from the last checkpoint"
    )


def _attempt(main: Main, group: Group, attempt: int) -> int | None:
    """The exit code of the group; None when a process was killed, and the group may be started again."""
    with tempfile.TemporaryDirectory(prefix="train-") as folder:
        address = urlsplit(group.dist_url)
        host, port = address.hostname or "127.0.0.1", address.port + attempt if address.port else 0
        store = None
        if group.machine_rank == 0:  # this process holds it, as it outlives the group
            store = TCPStore(host, port, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
            port = store.port
        first_rank = group.machine_rank * group.processes
        job = Job(main, attempt, group.device, first_rank, group.world_size, host, port, Path(folder), *_logging())
        started = start_processes(work, args=(job,), nprocs=group.processes, join=False, start_method="spawn")  # type: ignore[no-untyped-call]
        stopped, codes = _wait(started.processes)
        del store
        reports = [job.report(local) for local in range(group.processes)]
    if all(report and not report.error for report in reports):
        return max(report.code for report in reports if report)
    if stopped:
        return STOPPED
    failed = [report for report in reports if report and report.error]
    for report in failed:
        if report.error and not report.lost:
            raise report.error from WorkerError(f"in a training process:\n{report.trace}")
    killed = [f"{rank} by {signal.Signals(-code).name}" for rank, code in enumerate(codes) if code and code < 0]
    said = f": {failed[0].error}" if failed else ""
    if not killed and (group.machines == 1 or not failed):
        raise WorkerError(f"training processes ended together, and none was killed (exit codes {codes}){said}")
    reason = f"killed: {', '.join(killed)}" if killed else f"lost, one of another machine{said}"
    log.warning("training processes were %s; all are started again from the last checkpoint", reason)
    return None


def _logging() -> tuple[int, str]:
    """Level and format of this process's log."""
    root = logging.getLogger()
    formats = [handler.formatter._fmt for handler in root.handlers if handler.formatter and handler.formatter._fmt]
    return root.getEffectiveLevel(), next(iter(formats), logging.BASIC_FORMAT)


def _wait(processes: Sequence[BaseProcess]) -> tuple[bool, list[int | None]]:
    """Whether Ctrl-C was pressed; and how each ended by itself: None for those that had to be ended."""
    deadline = float("inf")
    forwarded = False
    try:
        with Interrupt(NOTICE) as interrupt:
            while alive := [process for process in processes if process.is_alive()]:
                wait([process.sentinel for process in alive], timeout=0.2)
                if interrupt.requested and not forwarded:
                    forwarded = True
                    for process in alive:
                        process.terminate()  # their Trainer takes it for a wish
                if any(process.exitcode for process in processes):
                    deadline = min(deadline, time.monotonic() + GRACE_S)
                if time.monotonic() > deadline:
                    break
            return interrupt.requested, [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _under_torchrun(main: Main, device: str) -> int:
    use_one_thread()
    join_group(device, int(os.environ["LOCAL_RANK"]))
    code = main(int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))
    distributed.destroy_process_group()
    return code

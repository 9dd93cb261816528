"""Work on many tasks in this process or in several: results as they come, whoever made them.

A process has one task at a time, so that little is in memory and it is known with which task one died.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

from dico.threads import ENVIRONMENT, limit_threads

T = TypeVar("T")
"""A task; it is pickled when several processes work."""
R = TypeVar("R")
"""A result; likewise."""

_PATIENCE_S = 5.0  # for a process to end before it is made to


class WorkerError(RuntimeError):
    """A process that worked on tasks died, or could not begin."""


def results_of(
    tasks: Iterable[T], make_work: Callable[[], Callable[[T], R]], *, processes: int, name_of: Callable[[T], str]
) -> Iterator[R]:
    """Yields what becomes of each task, in the order of being done.

    Args:
        tasks: Taken one by one, when a process is free.
        make_work: Makes what does a task; called once in each process, and pickled when there are several. What it
            makes handles the faults of a task itself: an error ends all work.
        processes: 1 does the work in this process; more are new ones with one thread each.
        name_of: What messages call a task.

    Raises:
        WorkerError: when a process died, with the name of its task, or raised an error, with what it says.
    """
    if processes == 1:
        yield from map(make_work(), tasks)
        return
    waiting = iter(tasks)
    with ExitStack() as stack:
        idle: list[_Worker[T]] = []
        busy: dict[Connection, _Worker[T]] = {}
        for task in waiting:
            if len(busy) < processes:
                worker = idle.pop() if idle else stack.enter_context(_started(make_work))
                worker.give(task)
                busy[worker.channel] = worker
            if len(busy) == processes:
                yield from _finished(busy, idle, name_of)
        while busy:
            yield from _finished(busy, idle, name_of)


@dataclass
class _Worker(Generic[T]):
    process: SpawnProcess
    channel: Connection
    task: T | None = None

    def give(self, task: T) -> None:
        self.task = task
        with suppress(OSError):  # it is dead, which is told when its answer is read
            self.channel.send(task)


def _finished(busy: dict[Connection, _Worker[T]], idle: list[_Worker[T]], name_of: Callable[[T], str]) -> Iterator[R]:
    """The results that are there, after waiting for at least one; who made them is idle then."""
    for channel in wait(list(busy)):
        worker = busy.pop(channel)  # type: ignore[call-overload]
        task = "" if worker.task is None else name_of(worker.task)
        try:
            error, result = worker.channel.recv()
        except (EOFError, OSError) as gone:
            worker.process.join(_PATIENCE_S)
            raise WorkerError(
                f"a process died while it worked on {task} (exit code {worker.process.exitcode}); when memory was"
                " short, fewer --processes need less"
            ) from gone
        if error:
            raise WorkerError(f"a process could not go on with {task}: {error}")
        idle.append(worker)
        yield result


@contextmanager
def _started(make_work: Callable[[], Callable[[T], R]]) -> Iterator[_Worker[T]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make_work), daemon=True)
    with _threads_of_its_own(), _interrupts_ignored():
        process.start()
    theirs.close()  # so that the end of the process is the end of the channel
    try:
        yield _Worker(process, ours)
    finally:
        ours.close()
        process.terminate()
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(channel: Connection, make_work: Callable[[], Callable[[T], R]]) -> None:
    """Does the tasks that come through a channel until it is closed."""
    limit_threads()
    work: Callable[[T], R] | None = None
    while True:
        try:
            task = channel.recv()
        except (EOFError, OSError):
            return  # nobody wants anything any more, or who did is dead
        answer: tuple[str, R | None]
        try:
            work = work or make_work()
            answer = ("", work(task))
        except Exception as error:  # whatever it is: no other process could do better, and the parent is to know
            answer = (f"{error}\n{traceback.format_exc()}", None)
        try:
            channel.send(answer)
        except OSError:
            return


@contextmanager
def _threads_of_its_own() -> Iterator[None]:
    """Processes that start within it have one thread each: libraries would otherwise take all cores, several times."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that start within it ignore Ctrl-C, which all processes of a terminal get: their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what is done with signals
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

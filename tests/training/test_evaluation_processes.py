from __future__ import annotations

import os
import signal
import threading
from functools import partial

import pytest

from tests.waiting import wait_for
from training.evaluation.running.processes import WorkerError, results_of


class Squares:
    """Work that says who did it; some tasks end it."""

    def __init__(self):
        self.done = 0

    def __call__(self, task):
        self.done += 1
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "fail":
            raise ValueError("seven is unlucky")
        return task * task, os.getpid(), self.done, os.environ.get("OMP_NUM_THREADS")


def refuse():
    raise ValueError("there is no work")


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_task_is_done_once_whoever_does_it(processes):
    results = list(results_of(range(20), Squares, processes=processes, name_of=str))
    assert sorted(square for square, *_ in results) == [n * n for n in range(20)]
    by_process = {}
    for _, process, number, threads in results:
        by_process.setdefault(process, []).append(number)
        assert processes == 1 or threads == "1"
    assert len(by_process) <= processes and (os.getpid() in by_process) == (processes == 1)
    # Work is made once in each process.
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in by_process.values())


def test_tasks_are_taken_when_a_process_is_free():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    results = results_of(tasks(), Squares, processes=2, name_of=str)
    for number in range(1, 11):
        next(results)
        assert len(taken) <= number + 2
    results.close()
    assert list(results_of([], Squares, processes=2, name_of=str)) == []


def test_a_process_that_dies_is_told_with_its_task():
    tasks = [1, 2, "die", 3]
    with pytest.raises(WorkerError, match=r"a process died while it worked on the 'die' \(exit code -9\)"):
        list(results_of(tasks, Squares, processes=2, name_of=lambda task: f"the {task!r}"))


def test_errors_of_work_are_told():
    with pytest.raises(WorkerError, match=r"a process could not go on with fail: seven is unlucky\nTraceback"):
        list(results_of([1, "fail"], Squares, processes=2, name_of=str))
    with pytest.raises(WorkerError, match="there is no work"):
        list(results_of([1], refuse, processes=2, name_of=str))


def test_no_process_is_left():
    results = results_of(range(100), Squares, processes=2, name_of=str)
    processes = {next(results)[1] for _ in range(6)}
    assert all(is_there(process) for process in processes)
    results.close()
    wait_for(lambda: not any(is_there(process) for process in processes))


def test_processes_can_be_started_from_a_thread():
    found = []
    work = partial(results_of, range(3), Squares, processes=2, name_of=str)
    thread = threading.Thread(target=lambda: found.extend(work()))
    thread.start()
    thread.join()
    assert sorted(square for square, *_ in found) == [0, 1, 4]


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

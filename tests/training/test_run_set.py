from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import asdict, dataclass

import numba
import pytest

from training.evaluation.running import run_set as module
from training.evaluation.running.journal import ResultJournal
from training.evaluation.running.run_set import run_set


@dataclass(frozen=True)
class Number:
    key: int


@dataclass(frozen=True)
class Square:
    key: int
    value: int
    fault: str = ""

    def to_json(self):
        return asdict(self)


@numba.njit
def squared(number):
    return number * number


class Interrupted:
    """An argument of compiled code: Ctrl-C is pressed while that looks of what type it is."""

    def __init__(self):
        self.presses = 0

    @property
    def _numba_type_(self):
        self.presses += 1
        if self.presses == 1:
            signal.raise_signal(signal.SIGINT)
        return numba.int64


def square(task):
    try:
        if task.key == 3:
            with suppress(TypeError):  # it is no number after all
                squared(Interrupted())
        return Square(task.key, int(squared(task.key)))
    except Exception as error:
        return Square(task.key, 0, str(error))


def test_ctrl_c_ends_it_after_the_image_under_way_and_is_no_fault_of_that(tmp_path, capfd):
    tasks = [Number(key) for key in range(6)]
    before = signal.getsignal(signal.SIGINT)

    def run(make_work, *, resume):
        with ResultJournal(tmp_path / "a.journal", {"of": "squares"}, resume=resume) as journal:
            return run_set(tasks, make_work, journal, lambda plain: Square(**plain), processes=1, name="squares")

    with pytest.raises(KeyboardInterrupt):
        run(lambda: square, resume=False)
    assert "press Ctrl-C again" in capfd.readouterr().err and signal.getsignal(signal.SIGINT) is before
    done = []

    def tell(task):
        done.append(task.key)
        return Square(task.key, task.key**2)

    assert run(lambda: tell, resume=True) == [Square(key, key**2) for key in range(6)]
    assert done == [4, 5]


def test_without_a_terminal_a_line_tells_now_and_then_how_far_it_is(tmp_path, monkeypatch, capfd):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def slow(task):
        now[0] += 20 if task.key else 50
        return Square(task.key, task.key**2)

    def run(tasks, *, resume):
        with ResultJournal(tmp_path / "a.journal", {"of": "squares"}, resume=resume) as journal:
            run_set(tasks, lambda: slow, journal, lambda plain: Square(**plain), processes=1, name="squares")

    run([Number(key) for key in range(6)], resume=False)
    assert capfd.readouterr().err.splitlines() == [
        "squares: 1 of 6 images, estimating the speed",
        "squares: 3 of 6 images, 0.05 images/s, 1 min 0 s to go",
        "squares: 5 of 6 images, 0.05 images/s, 20 s to go",
    ]
    run([Number(key) for key in range(9)], resume=True)
    assert capfd.readouterr().err == "squares: 8 of 9 images, 0.05 images/s, 20 s to go\n"

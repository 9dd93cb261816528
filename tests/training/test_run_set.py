from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import asdict, dataclass

import numba
import pytest

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

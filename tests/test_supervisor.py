"""Who works on what, and what becomes of tasks whose worker dies: with workers that are only numbers, and no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from dico.executors import WorkerError, supervisor
from dico.executors.supervisor import Broken, Died, Done, Event, GaveBack, Ready, Supervisor
from dico.store import ImageEntry
from dico.task import Failed, Labelled, Lost, Task

SEGFAULT = Lost("killed by SIGSEGV", "in f")


def task(key: int) -> Task:
    return Task(ImageEntry(key, f"{key}.jpg", 1), Path(f"{key}.jpg"))


def done(key: int) -> Labelled:
    return Labelled(b"row %d" % key)


class Crew:
    """Workers that do what the test says, and a clock that runs while one waits for them.

    ``script`` is asked at every wait for the events; by default all workers start at once and do their tasks at once.
    """

    def __init__(self, script: Callable[[Crew], Sequence[Event]] | None = None) -> None:
        self.now = 0.0
        self.started = 0
        self.starting: list[int] = []
        self.tasks: dict[int, Task] = {}
        self.given: list[tuple[int, int]] = []
        self.killed: list[int] = []
        self.waits: list[float] = []
        self.missing = ""
        self._script = script or Crew.diligence

    def start(self) -> int:
        self.started += 1
        self.starting.append(self.started)
        return self.started

    def give(self, worker: int, task: Task) -> None:
        assert worker not in self.starting and worker not in self.tasks and worker not in self.killed
        self.tasks[worker] = task
        self.given.append((worker, task.entry.index))

    def kill(self, worker: int) -> None:
        self.killed.append(worker)
        if worker in self.starting:
            self.starting.remove(worker)
        else:
            del self.tasks[worker]

    def wait(self, timeout_s: float) -> Sequence[Event]:
        assert timeout_s >= 0
        self.waits.append(timeout_s)
        events = self._script(self)
        if not events:
            self.now += timeout_s
        return events

    def shortage(self) -> str:
        return self.missing

    def diligence(self) -> list[Event]:
        return self.ready() + self.finish()

    def ready(self) -> list[Event]:
        events: list[Event] = [Ready(worker) for worker in self.starting]
        self.starting.clear()
        return events

    def finish(self) -> list[Event]:
        events: list[Event] = [Done(worker, done(task.entry.index)) for worker, task in self.tasks.items()]
        self.tasks.clear()
        return events

    def die(self, lost: Lost = SEGFAULT) -> list[Event]:
        """All who start, and all who work."""
        events: list[Event] = [Died(worker, lost) for worker in [*self.starting, *self.tasks]]
        self.starting.clear()
        self.tasks.clear()
        return events


def in_turn(*steps: Callable[[Crew], Sequence[Event]]) -> Callable[[Crew], Sequence[Event]]:
    """A script of one step a wait; after the last, diligence."""
    rest = list(steps)
    return lambda crew: rest.pop(0)(crew) if rest else crew.diligence()


def nothing(crew: Crew) -> list[Event]:
    return []


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervisor]:
    def make(crew: Crew, count: int = 2, **options: float) -> Supervisor:
        monkeypatch.setattr(supervisor, "time", SimpleNamespace(monotonic=lambda: crew.now))
        return Supervisor(crew, count, **options)

    return make


def collect_all(session: Supervisor, count: int) -> dict[int, object]:
    collected = [session.collect(60.0) for _ in range(count)]
    assert None not in collected
    assert len(dict(collected)) == count
    return dict(collected)


def test_every_task_has_its_own_result(session):
    crew = Crew()
    at_work = session(crew, 3)
    for key in range(10):
        at_work.submit(key, task(key))
    assert collect_all(at_work, 10) == {key: done(key) for key in range(10)}
    assert crew.started == 3


def test_a_worker_that_gives_a_task_back_is_not_replaced_and_gets_none_before_it_is_ready(session):
    left = Lost("left without features", blameless=True)

    def give_back(crew: Crew) -> list[Event]:
        (worker,) = crew.tasks
        crew.tasks.clear()
        crew.starting.append(worker)
        return [GaveBack(worker, left)]

    crew = Crew(in_turn(Crew.ready, give_back, nothing))
    at_work = session(crew, 1, timeout_s=5.0)
    for key in range(2):
        at_work.submit(key, task(key))
    assert at_work.collect(60.0) == (0, left)
    assert crew.given == [(1, 0)]
    assert at_work.collect(60.0) == (1, done(1))
    assert crew.started == 1 and crew.given == [(1, 0), (1, 1)] and not crew.killed


def test_tasks_are_begun_in_order_and_a_worker_gets_the_next_one_before_its_result_is_collected(session):
    crew = Crew(in_turn(Crew.ready, Crew.finish, nothing))
    at_work = session(crew, 1)
    for key in range(3):
        at_work.submit(key, task(key))
    assert at_work.collect(60.0) == (0, done(0))
    assert crew.given == [(1, 0), (1, 1)]


def test_the_window_holds_a_task_in_work_and_one_to_go_on_with_for_each(session):
    assert session(Crew(), 3).window == 6


def test_no_more_workers_than_tasks(session):
    crew = Crew()
    at_work = session(crew, 8)
    at_work.submit(0, task(0))
    at_work.submit(1, task(1))
    collect_all(at_work, 2)
    assert crew.started == 2
    at_work.submit(2, task(2))
    collect_all(at_work, 1)
    assert crew.started == 2


def test_nobody_is_hired_for_nothing(session):
    crew = Crew()
    assert session(crew).collect(5.0) is None
    assert crew.started == 0 and crew.now == 5.0


def test_only_the_ready_are_given_tasks(session):
    crew = Crew(in_turn(lambda crew: [Ready(crew.starting.pop())], *[Crew.finish] * 3))
    at_work = session(crew, 2)
    for key in range(3):
        at_work.submit(key, task(key))
    assert collect_all(at_work, 3).keys() == {0, 1, 2}
    assert {worker for worker, _ in crew.given} == {2}  # worker 1 never was


def test_a_task_whose_worker_dies_is_lost_and_the_others_are_not(session):
    crew = Crew(in_turn(Crew.ready, lambda crew: [Died(1, SEGFAULT)] if crew.tasks.pop(1) else []))
    at_work = session(crew, 2)
    for key in range(4):
        at_work.submit(key, task(key))
    results = collect_all(at_work, 4)
    lost = dict(crew.given)[1]
    assert results == {key: SEGFAULT if key == lost else done(key) for key in range(4)}
    assert crew.started == 3


def test_a_lost_task_can_be_submitted_again(session):
    at_work = session(Crew(in_turn(Crew.ready, Crew.die)), 1)
    at_work.submit(7, task(7))
    assert at_work.collect(60.0) == (7, SEGFAULT)
    at_work.submit(7, task(7))
    assert at_work.collect(60.0) == (7, done(7))


def test_a_death_between_tasks_costs_nothing(session):
    crew = Crew(in_turn(Crew.ready, Crew.finish, lambda crew: [Died(1, SEGFAULT)]))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    assert at_work.collect(60.0) == (0, done(0))
    assert at_work.collect(0.5) is None
    at_work.submit(1, task(1))
    assert at_work.collect(60.0) == (1, done(1))
    assert crew.started == 2


def test_three_in_a_row_who_die_before_they_are_ready_end_the_run(session):
    pauses = [nothing] * 2, [nothing] * 4
    last = Lost("killed by SIGBUS", "at the end")
    crew = Crew(in_turn(Crew.die, *pauses[0], Crew.die, *pauses[1], lambda crew: crew.die(last)))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    with pytest.raises(WorkerError, match=r"3 workers in a row .* killed by SIGBUS; try fewer .*\nat the end$"):
        at_work.collect(60.0)
    assert crew.started == 3 and crew.now == 6.0


def test_who_gets_ready_breaks_the_row(session):
    crew = Crew(in_turn(*[Crew.die, nothing, nothing, Crew.die, *[nothing] * 4, Crew.ready, Crew.die] * 2))
    at_work = session(crew, 1)
    for key in range(3):
        at_work.submit(key, task(key))
    assert list(collect_all(at_work, 3).values()) == [SEGFAULT, SEGFAULT, done(2)]


def test_a_machine_that_goes_away_is_no_failed_start(session):
    crew = Crew(in_turn(*[lambda crew: crew.die(Lost("its node died", blameless=True))] * 10))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    assert at_work.collect(60.0) == (0, done(0))


def test_who_cannot_make_its_work_ends_the_run_with_the_reason(session):
    at_work = session(Crew(lambda crew: [Broken(1, "no weights")]), 2)
    at_work.submit(0, task(0))
    with pytest.raises(WorkerError, match=r"^no weights$"):
        at_work.collect(60.0)


def break_all(crew: Crew) -> list[Event]:
    """All who start say that they cannot make their work; they are there until they are killed."""
    return [Broken(worker, "weights: stale file handle") for worker in crew.starting]


def test_a_replacement_that_cannot_make_its_work_is_one_failed_start(session, caplog):
    crew = Crew(in_turn(Crew.ready, Crew.die, break_all, nothing, nothing))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    at_work.submit(1, task(1))
    assert collect_all(at_work, 2) == {0: SEGFAULT, 1: done(1)}
    assert crew.killed == [2] and crew.started == 3 and crew.now == 2.0
    assert "a worker could not get ready: weights: stale file handle" in caplog.messages


def test_three_replacements_in_a_row_that_cannot_make_their_work_end_the_run(session):
    crew = Crew(in_turn(Crew.ready, Crew.die, break_all, *[nothing] * 2, break_all, *[nothing] * 4, break_all))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    at_work.submit(1, task(1))
    assert at_work.collect(60.0) == (0, SEGFAULT)
    with pytest.raises(WorkerError, match=r"^3 workers in a row .* by an error: weights: stale file handle; try"):
        at_work.collect(60.0)


def test_the_run_goes_on_with_the_workers_there_are_and_tries_again_ever_less_often(session):
    at: list[float] = []

    def one_works(crew: Crew) -> list[Event]:
        """The first is ready and at work for ever; all others cannot make their work."""
        if crew.starting == [1]:
            return crew.ready()
        at.extend(crew.now for worker in crew.starting)
        return break_all(crew)

    crew = Crew(one_works)
    at_work = session(crew, 2)
    at_work.submit(0, task(0))
    assert at_work.collect(1.0) is None
    at_work.submit(1, task(1))
    assert at_work.collect(300.0) is None
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert pauses[:5] == [2.0, 4.0, 6.0, 8.0, 10.0] and max(pauses) <= 60.0


def test_the_work_of_a_ready_worker_that_makes_no_sense_ends_the_run(session):
    at_work = session(Crew(in_turn(Crew.ready, lambda crew: [Broken(1, "does not see the images")])), 1)
    at_work.submit(0, task(0))
    with pytest.raises(WorkerError, match=r"^does not see the images$"):
        at_work.collect(60.0)


class Narrow(Crew):
    """The system has room for so many."""

    room = 1

    def start(self) -> int:
        if self.started - len(self.killed) >= self.room:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return super().start()


def test_a_system_with_room_for_few_has_few(session, caplog):
    crew = Narrow()
    at_work = session(crew, 3)
    for key in range(20):
        at_work.submit(key, task(key))
    assert collect_all(at_work, 20) == {key: done(key) for key in range(20)}
    assert crew.started == 1
    assert set(caplog.messages) == {"no further worker could be started: [Errno 11] Resource temporarily unavailable"}


def test_a_system_without_room_ends_the_run(session):
    crew = Narrow()
    crew.room = 0
    at_work = session(crew, 3)
    at_work.submit(0, task(0))
    with pytest.raises(WorkerError, match=r"no worker could be started .*unavailable.*--num-workers"):
        at_work.collect(60.0)


def test_who_never_gets_ready_is_killed_and_that_is_a_failed_start(session):
    crew = Crew(nothing)
    at_work = session(crew, 1, start_timeout_s=100.0)
    at_work.submit(0, task(0))
    with pytest.raises(WorkerError, match=r"3 workers in a row .* killed as it was not ready after 100 s; try"):
        at_work.collect(1000.0)
    assert crew.killed == [1, 2, 3] and crew.now == 306.0

    crew = Crew(in_turn(*[nothing] * 500))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    assert at_work.collect(1000.0) == (0, done(0)) and crew.killed == []


def test_who_got_ready_in_time_is_not_killed_because_nobody_looked(session):
    crew = Crew(in_turn(nothing))
    at_work = session(crew, 1, start_timeout_s=3.0)
    at_work.submit(0, task(0))
    assert at_work.collect(1.0) is None
    crew.now += 100
    assert at_work.collect(60.0) == (0, done(0)) and crew.killed == []


def test_who_takes_too_long_is_killed_and_replaced(session):
    crew = Crew(in_turn(Crew.ready, *[nothing] * 10))
    at_work = session(crew, 1, timeout_s=4.5)
    at_work.submit(0, task(0))
    at_work.submit(1, task(1))
    key, failed = at_work.collect(60.0)
    assert key == 0 and isinstance(failed, Failed) and failed.kind == "timeout"
    assert failed.error == "took longer than 4.5 s; a slow image may pass with a larger --timeout"
    assert crew.killed == [1] and crew.now == pytest.approx(4.5)
    key, failed = at_work.collect(60.0)
    assert key == 1 and crew.given == [(1, 0), (2, 1)]


def test_the_time_of_a_task_starts_when_it_is_given(session):
    crew = Crew(in_turn(*[nothing] * 50, Crew.ready))
    at_work = session(crew, 1, timeout_s=3.0)
    at_work.submit(0, task(0))
    assert at_work.collect(600.0) == (0, done(0))
    assert crew.now > 40 and crew.killed == []


def test_who_finished_in_time_is_not_killed_because_nobody_looked(session):
    crew = Crew(in_turn(Crew.ready, nothing))
    at_work = session(crew, 1, timeout_s=3.0)
    at_work.submit(0, task(0))
    assert at_work.collect(1.0) is None
    crew.now += 100  # the caller's disk was slow
    assert at_work.collect(60.0) == (0, done(0))
    assert crew.killed == []


def test_without_a_limit_it_waits(session):
    crew = Crew(in_turn(Crew.ready, *[nothing] * 5000))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    assert at_work.collect(4000.0) is None
    assert at_work.collect(4000.0) == (0, done(0))


def test_it_looks_at_the_clock_at_least_once_a_second(session):
    crew = Crew(nothing)
    at_work = session(crew)
    at_work.submit(0, task(0))
    assert at_work.collect(2.5) is None
    assert crew.waits == [1.0, 1.0, 0.5]


def test_a_result_that_is_there_needs_no_time(session):
    at_work = session(Crew(), 2)
    at_work.submit(0, task(0))
    at_work.submit(1, task(1))
    first = at_work.collect(60.0)
    second = at_work.collect(0.0)
    assert {first[0], second[0]} == {0, 1}


def test_what_nobody_has_begun_can_be_taken_back(session):
    crew = Crew(in_turn(Crew.ready, Crew.finish, nothing))
    at_work = session(crew, 1)
    for key in range(4):
        at_work.submit(key, task(key))
    assert at_work.collect(60.0) == (0, done(0))
    assert at_work.withdraw() == [2, 3]
    assert at_work.withdraw() == []
    assert at_work.collect(60.0) == (1, done(1))
    assert at_work.collect(5.0) is None


def test_the_log_says_once_an_outage_that_nobody_is_ready_and_what_is_missing(session, caplog):
    crew = Crew(in_turn(*[nothing] * 29))
    at_work = session(crew, 1)
    at_work.submit(0, task(0))
    assert at_work.collect(60.0) == (0, done(0))
    assert caplog.messages == []  # in time

    crew = Crew(in_turn(*[nothing] * 99, Crew.ready, Crew.die, *[nothing] * 99))
    at_work = session(crew, 1)
    for key in range(2):
        at_work.submit(key, task(key))
    crew.missing = "0 of 4 CPUs are free"
    assert at_work.collect(600.0) == (0, SEGFAULT)
    assert caplog.messages[0] == "no worker is ready yet; the run goes on when one is; 0 of 4 CPUs are free"
    crew.missing = ""
    assert at_work.collect(600.0) == (1, done(1))
    assert caplog.messages[1:] == ["no worker is ready yet; the run goes on when one is"]


def test_who_has_nothing_to_do_misses_nobody(session, caplog):
    assert session(Crew(nothing)).collect(600.0) is None
    assert caplog.messages == []

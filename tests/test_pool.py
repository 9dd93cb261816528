"""Processes that crash, hang, are killed and chat: each takes its own image with it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import labelers
import numpy as np
import PIL.Image
import pytest
from labelers import ByHeight, whole
from waiting import wait_for

from dico.executors import InlineExecutor, Session, WorkerError, local_workers, pool, process, starts
from dico.executors.machine import usable_workers
from dico.executors.pool import DEFAULT_TIMEOUT_S, PoolExecutor
from dico.job import Job, LabelerJob
from dico.store import ImageEntry
from dico.task import Failed, Labelled, Lost, Result, Task

GOOD_HEIGHT = 8


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Task]:
    """A function that makes a task of an image of a height."""

    def make(key: int, height: int = GOOD_HEIGHT) -> Task:
        file = tmp_path / f"{key}.png"
        pixels = np.random.default_rng(key).integers(0, 256, (height, 9, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(file)
        return Task(ImageEntry(key, file.name, file.stat().st_size), file)

    return make


def collect(session: Session) -> Result:
    """The next result; no test waits for long."""
    collected = session.collect(60.0)
    assert collected is not None
    return collected[1]


def do(session: Session, tasks: list[Task]) -> dict[int, Result]:
    for key, task in enumerate(tasks):
        session.submit(key, task)
    return dict(collected for _ in tasks if (collected := session.collect(60.0)) is not None)


def pids(session: Session) -> list[int]:
    return list(session._workers.pids.values())


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def open_files() -> set[str]:
    """Number and target of each; that of the listing itself is closed again when it is looked at."""
    return {f"{link.name} {link.readlink()}" for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No child, dead or alive, and no open file is left of any test."""
    before = open_files()
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert open_files() - before == set()


def test_every_fault_is_of_its_own_image_alone(task, capfd):
    faults = {
        10: labelers.segfault,
        11: labelers.leave,
        12: labelers.complain,
        13: labelers.interrupt_all,
        14: labelers.chat,
        15: labelers.fork_and_die,
        16: labelers.count_threads,
    }
    job = LabelerJob(ByHeight(faults, ballast=bytes(3_000_000)))  # more than fits into a pipe
    tasks = [task(key, height) for key, height in enumerate([8, *faults, 8])]
    with InlineExecutor().session(LabelerJob(whole)) as session:
        good = do(session, tasks)
    with PoolExecutor(2).session(job) as session:
        results = do(session, tasks)
    for key in (0, 4, 5, 7, 8):
        assert results[key].row == good[key].row
    assert results[3].kind == "error" and results[3].error == "ValueError: this image is not to its taste"
    segfault, leave, fork_and_die = results[1], results[2], results[6]
    assert segfault.reason == fork_and_die.reason == "killed by SIGSEGV"
    assert "about to read address 0" in segfault.traceback and "in segfault" in segfault.traceback
    assert leave == Lost("stopped with exit code 3")
    assert capfd.readouterr() == ("", "")


def test_one_thread_where_the_site_says_otherwise(task, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['OPENBLAS_NUM_THREADS'] = '2'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with PoolExecutor(1).session(LabelerJob(labelers.count_threads)) as session:
        assert isinstance(do(session, [task(0)])[0], Labelled)


@pytest.mark.parametrize("labeler", [labelers.hang, labelers.hang_up])
def test_a_hang_ends(task, monkeypatch, labeler):
    monkeypatch.setattr(local_workers, "GRACE_S", 0.1)
    # The limit holds for the good image, too, and the machine may be busy.
    with PoolExecutor(1, timeout_s=5.0).session(LabelerJob(ByHeight({10: labeler}))) as session:
        results = do(session, [task(0, 10), task(1)])
    assert isinstance(results[1], Labelled)
    if labeler is labelers.hang:
        assert isinstance(results[0], Failed) and results[0].kind == "timeout"
    else:
        assert results[0].reason == "killed, as it had closed its connection and did not end"


def test_who_hangs_up_and_does_not_end_holds_up_nobody(task, monkeypatch):
    monkeypatch.setattr(local_workers, "GRACE_S", 20.0)
    with PoolExecutor(2).session(LabelerJob(ByHeight({10: labelers.hang_up}))) as session:
        assert do(session, [task(0), task(1)]).keys() == {0, 1}  # two workers are ready
        for key, height in enumerate([10, 8, 8, 8]):
            session.submit(key, task(key, height))
        collected = dict(session.collect(60.0) for _ in range(3))
        assert collected.keys() == {1, 2, 3}
        assert all(isinstance(outcome, Labelled) for outcome in collected.values())


def test_who_cannot_be_killed_holds_up_neither_the_run_nor_its_end(task, tmp_path, monkeypatch, caplog):
    """As a process that waits for a disk: no signal reaches it."""
    (marks := tmp_path / "marks").mkdir()
    monkeypatch.setattr(local_workers, "FAREWELL_S", 0.1)
    stuck = LabelerJob(ByHeight({10: labelers.Marked(marks)}))
    with PoolExecutor(1, timeout_s=5.0).session(stuck) as session:
        with monkeypatch.context() as patch:
            patch.setattr(process.os, "killpg", lambda pid, signal: None)
            session.submit(0, task(0, 10))
            assert collect(session).kind == "timeout"
        session.submit(1, task(1))
        assert isinstance(collect(session), Labelled)
        (pid,) = (int(file.name) for file in marks.iterdir())
        assert lives(pid)
    assert caplog.messages == [f"killed and still there, as what waits for a disk or a file server is: process {pid}"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_replacement_that_cannot_make_its_work_ends_no_run(task, tmp_path):
    (folder := tmp_path / "folder").mkdir()
    job = labelers.RareJob(ByHeight({10: labelers.segfault}), folder=folder)
    with PoolExecutor(1).session(job) as session:
        assert isinstance(do(session, [task(0, 10)])[0], Lost)
        session.submit(1, task(1))
        wait_for(lambda: session.collect(0.1) or session._starts.failed_in_a_row)
        (folder / "made").unlink()
        assert isinstance(collect(session), Labelled)


def test_who_takes_for_ever_to_get_ready_is_killed(task, monkeypatch):
    monkeypatch.setattr(pool, "START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(starts, "PAUSE_S", 0.0)
    with (
        PoolExecutor(1).session(labelers.SleepyJob(whole)) as session,
        pytest.raises(WorkerError, match=r"3 workers in a row .* killed as it was not ready after 0\.1 s"),
    ):
        do(session, [task(0)])


def test_killed_while_it_starts_while_it_waits_and_while_it_works(task, tmp_path):
    (marks := tmp_path / "marks").mkdir()
    with PoolExecutor(1).session(LabelerJob(ByHeight({10: labelers.Marked(marks)}))) as session:
        session.submit(0, task(0))
        assert session.collect(0.0) is None
        (starting,) = pids(session)
        os.kill(starting, signal.SIGKILL)
        assert isinstance(collect(session), Labelled)

        (idle,) = pids(session)
        assert idle != starting
        os.kill(idle, signal.SIGKILL)
        assert session.collect(0.2) is None
        session.submit(1, task(1, 10))
        wait_for(lambda: session.collect(0.1) or list(marks.iterdir()))

        (working,) = pids(session)
        assert working != idle and (marks / str(working)).exists()
        os.kill(working, signal.SIGKILL)
        lost = collect(session)
        assert isinstance(lost, Lost) and not lost.blameless
        assert lost.reason.startswith("killed by SIGKILL (if not by you: the machine may have run out of memory")


def test_killed_just_before_it_is_given_a_task(task):
    with PoolExecutor(1).session(LabelerJob(whole)) as session:
        assert isinstance(do(session, [task(0)])[0], Labelled)
        (pid,) = pids(session)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not lives(pid))
        session.submit(1, task(1))
        assert isinstance(collect(session), Lost)
        session.submit(1, task(1))
        assert isinstance(collect(session), Labelled)


def test_the_end_of_the_block_is_the_end_of_the_workers_also_by_ctrl_c(task, tmp_path):
    (marks := tmp_path / "marks").mkdir()
    with pytest.raises(KeyboardInterrupt), PoolExecutor(2).session(LabelerJob(labelers.Marked(marks))) as session:
        for key in range(2):
            session.submit(key, task(key))
        wait_for(lambda: session.collect(0.1) or len(list(marks.iterdir())) == 2)
        at_work = pids(session)
        raise KeyboardInterrupt
    assert {file.name for file in marks.iterdir()} == {str(pid) for pid in at_work}
    assert not any(lives(pid) for pid in at_work)


DRIVER = """
import sys
from pathlib import Path
from dico.executors.pool import PoolExecutor
from dico.job import LabelerJob
from dico.store import ImageEntry
from dico.task import Task
from labelers import Marked
image, marks = map(Path, sys.argv[1:])
with PoolExecutor(2).session(LabelerJob(Marked(marks))) as session:
    for key in range(2):
        session.submit(key, Task(ImageEntry(key, "i.png", 1), image))
    session.collect(600)
"""


def test_workers_die_with_a_parent_that_is_killed(task, tmp_path):
    (marks := tmp_path / "marks").mkdir()
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    driver = [sys.executable, "-c", DRIVER, str(task(0).file), str(marks)]
    with subprocess.Popen(driver, env=os.environ | path) as parent:
        wait_for(lambda: parent.poll() is not None or len(list(marks.iterdir())) == 2)
        at_work = [int(file.name) for file in marks.iterdir()]
        assert len(at_work) == 2 and all(map(lives, at_work))
        parent.kill()
    wait_for(lambda: not any(map(lives, at_work)))


WATCHING_CHILD = """
import os, sys, time
from types import SimpleNamespace
from dico.executors import worker
worker.sys = SimpleNamespace(platform="some other system")
worker._die_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_where_the_system_does_not_kill_orphans_they_do_so_themselves():
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WATCHING_CHILD!r}])"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert lives(child)
        parent.kill()
        wait_for(lambda: not lives(child))


def test_a_job_that_cannot_make_its_work_ends_the_run_with_what_it_says(task):
    with (
        PoolExecutor(1).session(labelers.BrokenJob(whole)) as session,
        pytest.raises(WorkerError, match=r"^extractor\.weights: there is no such file$"),
    ):
        do(session, [task(0)])


def test_workers_that_die_of_the_job_end_the_run(task):
    with (
        PoolExecutor(3).session(labelers.HopelessJob(whole)) as session,
        pytest.raises(WorkerError, match=r"3 workers in a row died .* stopped with exit code 9; try .*\nno such luck"),
    ):
        do(session, [task(key) for key in range(3)])


def made_in_a_notebook(name: str) -> Job:
    """A job that can be pickled here and read nowhere else."""

    def labeler(image: object) -> None: ...

    labeler.__module__ = labeler.__qualname__ = name
    module = types.ModuleType(name)
    setattr(module, name, labeler)
    sys.modules[name] = module
    return LabelerJob(labeler)


def test_a_labeler_that_only_this_process_knows(task):
    remedy = r"must be defined in a module that they can import; or use inline$"
    with pytest.raises(TypeError, match=remedy), PoolExecutor(1).session(LabelerJob(lambda image: whole(image))):
        pytest.fail("it was pickled")
    job = made_in_a_notebook("notebook")
    try:
        with PoolExecutor(1).session(job) as session, pytest.raises(WorkerError, match=remedy):
            do(session, [task(0)])
    finally:
        del sys.modules["notebook"]


def test_what_a_worker_writes_is_kept_until_its_task_is_done(task):
    noisy = labelers.Noisy(bytes_per_image=100_000, fatal_height=10)
    with PoolExecutor(1).session(LabelerJob(noisy)) as session:
        for key in range(3):
            assert isinstance(do(session, [task(key)])[0], Labelled)
            (worker,) = session._workers._processes.values()
            assert os.fstat(worker._output.fileno()).st_size == 0
        lost = do(session, [task(3, 10)])[0]
    assert lost.reason == "stopped with exit code 7"
    assert lost.traceback.splitlines()[-1] == "the last words"
    assert len(lost.traceback) <= process.TAIL_BYTES


def test_a_system_without_room_for_processes(task, monkeypatch):
    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(process.subprocess, "Popen", no_room)
    with (
        PoolExecutor(1).session(LabelerJob(whole)) as session,
        pytest.raises(WorkerError, match=r"no worker could be started .*unavailable.*--num-workers"),
    ):
        do(session, [task(0)])


def test_as_many_workers_as_the_machine_has_room_for():
    assert PoolExecutor().num_workers == usable_workers()


def test_options():
    assert (str(PoolExecutor(1)), str(PoolExecutor(4))) == ("1 process", "4 processes")
    assert PoolExecutor(1).timeout_s == DEFAULT_TIMEOUT_S
    assert PoolExecutor(1, timeout_s=0).timeout_s is PoolExecutor(1, timeout_s=None).timeout_s is None
    with pytest.raises(ValueError, match="num_workers must be at least 1, got 0"):
        PoolExecutor(0)
    with pytest.raises(ValueError, match=r"timeout_s must be at least 0, got -1"):
        PoolExecutor(1, timeout_s=-1)

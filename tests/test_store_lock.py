"""Who may write which shards of a store."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from dico.store import MaskStore, StoreError
from dico.store import lock as store_lock
from dico.store.guard import guard
from dico.store.lock import LeftBehindError, ShardLock, refuse_when_written
from tests.stores import manifest_of, masks_of

HOST = socket.gethostname()


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "locks").glob("*.lock"))


def hold(folder: str, shards: range, ready: object, release: object) -> None:
    with ShardLock(Path(folder), shards):
        ready.set()
        release.wait(60)


@pytest.fixture
def other(tmp_path):
    """A process that holds shards 2:4 of the folder."""
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(str(tmp_path), range(2, 4), ready, release))
    process.start()
    assert ready.wait(60)
    yield process
    release.set()
    process.join()


@pytest.mark.parametrize("shards", [range(2, 4), range(0, 3), range(3, 9), range(0, 9), range(3, 4)])
def test_shards_of_another_process_are_refused(tmp_path, other, shards):
    with pytest.raises(StoreError) as caught:
        ShardLock(tmp_path, shards).__enter__()
    assert str(caught.value) == (
        f"{tmp_path} is being written by process {other.pid} on {HOST} (shards 2:4);"
        " wait for it to end, or choose other shards or another output"
    )
    assert locks(tmp_path) == [f"000002-000004.{HOST}.{other.pid}.lock"]


def test_other_shards_are_free(tmp_path, other):
    with ShardLock(tmp_path, range(0, 2)), ShardLock(tmp_path, range(4, 5)):
        assert locks(tmp_path) == [
            f"000000-000002.{HOST}.{os.getpid()}.lock",
            f"000002-000004.{HOST}.{other.pid}.lock",
            f"000004-000005.{HOST}.{os.getpid()}.lock",
        ]
    assert locks(tmp_path) == [f"000002-000004.{HOST}.{other.pid}.lock"]
    with guard(tmp_path), pytest.raises(StoreError, match=rf"written by process {other.pid} on"):
        refuse_when_written(tmp_path, range(100))


def test_two_writers_of_one_process_are_one_too_many(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    with store.writer() as writer:
        for shards in (None, range(1, 2)):
            with pytest.raises(StoreError, match=rf"out is being written by process {os.getpid()} on .*\(shards 0:3\)"):
                store.writer(shards).__enter__()
        assert list(writer.pending()) == list(range(9))
        assert locks(tmp_path / "out") == [f"000000-000003.{HOST}.{os.getpid()}.lock"]
    with store.writer(range(1, 2)) as writer:
        assert list(writer.pending()) == [4, 5, 6, 7]


def test_the_lock_of_a_dead_process_is_free(tmp_path):
    code = (
        "import os; from pathlib import Path; from dico.store.lock import ShardLock;"
        f"ShardLock(Path({str(tmp_path)!r}), range(1, 3)).__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    (left,) = locks(tmp_path)
    assert left.startswith(f"000001-000003.{HOST}.")
    with ShardLock(tmp_path, range(2, 5)):
        assert locks(tmp_path) == [f"000002-000005.{HOST}.{os.getpid()}.lock"]
    assert locks(tmp_path) == []


def test_the_process_id_of_a_dead_process_may_be_ours(tmp_path):
    (tmp_path / "locks").mkdir()
    left = tmp_path / "locks" / f"000001-000003.{HOST}.{os.getpid()}.lock"
    left.write_bytes(b"")
    os.utime(left, (1, 1))
    with ShardLock(tmp_path, range(1, 3)):
        assert left.stat().st_mtime > 1
    assert locks(tmp_path) == []


# -------------------------------------------------------------------- locks of other machines


@pytest.fixture
def left(tmp_path) -> Path:
    """The lock of another machine, touched just now."""
    (tmp_path / "locks").mkdir(exist_ok=True)
    path = tmp_path / "locks" / "000001-000003.node-7.example.org.4711.lock"
    path.write_bytes(b"")
    return path


@pytest.fixture
def sleep(monkeypatch) -> Callable[[Callable[[float], None]], None]:
    """A clock that only sleeping moves, and a function that sets what happens at each time after a sleep."""
    slept, then = [0.0], []

    def fake_sleep(seconds: float) -> None:
        slept[0] += seconds
        for each in then:
            each(slept[0])

    file_time = store_lock.file_time
    monkeypatch.setattr(store_lock, "file_time", lambda folder: file_time(folder) + slept[0])
    monkeypatch.setattr(store_lock.time, "sleep", fake_sleep)
    return then.append


def test_a_lock_from_another_machine_is_respected(tmp_path, left):
    with guard(tmp_path), pytest.raises(LeftBehindError) as caught:
        refuse_when_written(tmp_path, range(2, 5))
    assert str(caught.value) == (
        f"{tmp_path} was locked by process 4711 on node-7.example.org (shards 1:3), which gave a sign of life 0 s ago;"
        f" its shards are free when it is silent for 10 minutes, or when you remove {left}, if you know that it is dead"
    )
    assert locks(tmp_path) == [left.name]
    with ShardLock(tmp_path, range(3, 5)):
        pass
    left.unlink()
    with ShardLock(tmp_path, range(2, 5)):
        pass


def test_another_machine_that_is_silent_for_long_is_dead(tmp_path, left):
    ago = left.stat().st_mtime - 590
    os.utime(left, (ago, ago))
    with guard(tmp_path), pytest.raises(LeftBehindError, match=r"gave a sign of life 59\d s ago"):
        refuse_when_written(tmp_path, range(2, 5))
    os.utime(left, (ago - 11, ago - 11))
    with ShardLock(tmp_path, range(2, 5)):
        assert locks(tmp_path) == [f"000002-000005.{HOST}.{os.getpid()}.lock"]


def test_a_job_that_starts_again_elsewhere_waits_for_the_silence_of_its_dead_machine(tmp_path, sleep, caplog):
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    times: list[float] = []
    sleep(times.append)
    for name, ago in (
        ("000-001.node-6.1", 300),
        ("001-003.node-7.2", 100),
        ("002-003.node-8.3", 200),
    ):
        path = store.path / "locks" / f"{name}.lock"
        path.write_bytes(b"")
        os.utime(path, (path.stat().st_mtime - ago,) * 2)
    with store.writer() as writer:
        writer.write(0, masks_of(0))
        assert locks(store.path) == [f"000000-000003.{HOST}.{os.getpid()}.lock"]
    assert 495 <= times[-1] <= 505
    assert max(after - before for before, after in pairwise(times)) <= 5
    (warning,) = caplog.messages
    assert re.fullmatch(
        r".*out was locked by process 2 on node-7 \(shards 1:3\), which gave a sign of life 10\d s ago; its shards are"
        r" free when it is silent for 10 minutes, or when you remove .*/001-003\.node-7\.2\.lock, if you know that"
        r" it is dead; waiting for (500|49\d) s at most",
        warning,
    )


def test_who_gives_a_sign_of_life_while_it_is_waited_for_is_writing(tmp_path, left, sleep):
    touched = left.stat().st_mtime + 30
    sleep(lambda now: os.utime(left, (touched, touched)) if now == 30 else None)
    times: list[float] = []
    sleep(times.append)
    with pytest.raises(StoreError) as caught:
        ShardLock(tmp_path, range(2, 5)).__enter__()
    assert str(caught.value) == (
        f"{tmp_path} is being written by process 4711 on node-7.example.org (shards 1:3);"
        " wait for it to end, or choose other shards or another output"
    )
    assert times[-1] == 30
    assert locks(tmp_path) == [left.name]


def test_a_lock_that_is_removed_is_waited_for_no_longer(tmp_path, left, sleep):
    sleep(lambda now: left.unlink() if now == 20 else None)
    times: list[float] = []
    sleep(times.append)
    with ShardLock(tmp_path, range(2, 5)):
        assert times[-1] == 20


def test_nobody_waits_while_another_process_is_writing_too(tmp_path, other, left, sleep):
    sleep(pytest.fail)
    with pytest.raises(StoreError, match=rf"is being written by process {other.pid} on"):
        ShardLock(tmp_path, range(0, 9)).__enter__()


def test_waiting_can_be_interrupted_and_holds_nothing(tmp_path, left, sleep):
    def interrupt(now: float) -> None:
        assert locks(tmp_path) == [left.name]
        with ShardLock(tmp_path, range(3, 9)), guard(tmp_path):
            raise KeyboardInterrupt

    sleep(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ShardLock(tmp_path, range(0, 3)).__enter__()
    assert locks(tmp_path) == [left.name]


# -------------------------------------------------------------------- signs of life


def test_a_sign_of_life_every_half_minute(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("dico.store.lock.time.monotonic", lambda: now[0])
    with ShardLock(tmp_path, range(1)) as lock:
        for step, fresh in ((0, True), (29, False), (1, True)):
            os.utime(lock.path, (1, 1))
            now[0] += step
            lock.touch()
            assert (lock.path.stat().st_mtime > 1) == fresh


def test_who_was_taken_for_dead_stops_writing(tmp_path):
    """As after the lid of a laptop was closed: the lock is another's now, and stays there."""
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    with store.writer() as writer:
        (path,) = (tmp_path / "out" / "locks").glob("*.lock")
        path.unlink()
        path.write_bytes(b"")
        with pytest.raises(StoreError, match="is gone: this process gave no sign of life for 10 minutes, and another"):
            writer.heartbeat()
        writer._lock._touched = 0.0
        with pytest.raises(StoreError, match="is gone: this process"):
            writer.write(0, masks_of(0))
    assert list(store) == []
    assert locks(tmp_path / "out") == [path.name]


def test_a_file_system_without_locks_is_said_so(tmp_path, monkeypatch):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=r"lies on a file system without locks \(No locks available\); choose another"):
        ShardLock(tmp_path, range(1)).__enter__()


def test_other_files_among_the_locks_do_not_matter(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "notes.lock").write_text("mine")
    with ShardLock(tmp_path, range(2)):
        pass
    assert locks(tmp_path) == ["notes.lock"]


def test_the_guard_lets_one_in_at_a_time(tmp_path):
    """Four processes each add one to a number in a file, with nothing between reading and writing but the guard."""
    (tmp_path / "number").write_text("0")
    code = (
        "from pathlib import Path; import sys; from dico.store.guard import guard\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "for _ in range(200):\n"
        "    with guard(folder):\n"
        "        number = int((folder / 'number').read_text())\n"
        "        (folder / 'number').write_text(str(number + 1))\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "800"

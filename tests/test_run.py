from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import bright_labeler
from threadpoolctl import threadpool_info

from dico.image import Image
from dico.inputs import list_images
from dico.job import Job, LabelerJob
from dico.masks import MaskSet
from dico.run import RunOptions, run
from dico.store import Manifest, MaskStore, StoreError
from dico.task import Failed, Lost, Result, Task


def store_of(folder: Path, output: Path, *, shard_size: int = 4) -> MaskStore:
    files = list_images(folder)
    return MaskStore.create(
        output, Manifest.of_files(files, root=folder, config={}, config_hash="x", shard_size=shard_size)
    )


def shard_bytes(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((output / "shards").iterdir())}


def test_a_run_labels_every_image(tmp_path, image_folder):
    folder = image_folder(6)
    store = store_of(folder, tmp_path / "out")
    summary = run(LabelerJob(bright_labeler), store)
    assert (summary.images, summary.labelled, summary.failed, summary.pending) == (6, 6, 0, 0)
    assert not summary.interrupted
    rows = list(store)
    assert [row.status for row in rows] == ["done"] * 6
    assert [row.masks.size_hw for row in rows] == [(30, 20), (24, 32)] * 3
    assert "6 of 6 images labelled in" in summary.sentence() and "18 masks" in summary.sentence()
    assert set(summary.seconds_by_stage) == {"load", "encode"} and summary.masks == 18
    assert store.verify().problems == ()


def test_two_runs_give_the_same_bytes_and_a_second_does_nothing(tmp_path, image_folder):
    folder = image_folder(6)
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "a"))
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "b"))
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "shards").iterdir()}
    summary = run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "a"))
    assert (summary.found_done, summary.labelled, summary.pending) == (6, 0, 0)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "shards").iterdir()}
    assert "6 were done before" in summary.sentence()


def test_a_limit_is_of_the_listing_and_can_be_raised(tmp_path, image_folder):
    folder = image_folder(6)
    store = store_of(folder, tmp_path / "out")
    summary = run(LabelerJob(bright_labeler), store, RunOptions(limit=2))
    assert (summary.labelled, summary.pending, summary.interrupted) == (2, 4, False)
    assert [row.index for row in store] == [0, 1]
    assert run(LabelerJob(bright_labeler), store, RunOptions(limit=2)).labelled == 0
    assert run(LabelerJob(bright_labeler), store, RunOptions(limit=100)).labelled == 4
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole"))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_failures_are_rows_and_stories_and_not_the_end(tmp_path, image_folder):
    folder = image_folder(6)
    (folder / "0000.png").write_bytes(b"")

    def labeler(image: Image) -> MaskSet:
        key = int(image.astype(np.int64).sum())
        if key == sums[1]:
            raise RuntimeError("the labeler broke\non two lines")
        if key == sums[2]:
            raise MemoryError
        if key == sums[3]:
            return MaskSet.empty((1, 1))
        return bright_labeler(image)

    from dico.image import load_image

    sums = {i: int(load_image(folder / f"{i:04d}.png").astype(np.int64).sum()) for i in range(1, 6)}
    store = store_of(folder, tmp_path / "out")
    summary = run(LabelerJob(labeler), store)
    assert (summary.labelled, summary.failed, summary.failed_in_store, summary.pending) == (2, 4, 4, 0)
    assert [row.kind for row in store] == ["decode", "error", "memory", "error", None, None]
    stories = store.failures()
    assert [story.index for story in stories] == [0, 1, 2, 3]
    assert stories[0].error.startswith("ImageError: ") and "0000.png is empty" in stories[0].error
    assert stories[0].traceback == ""
    assert stories[1].error == "RuntimeError: the labeler broke\non two lines"
    assert "in labeler" in stories[1].traceback and stories[1].traceback.endswith("on two lines")
    assert stories[2].error == "MemoryError"
    assert "masks must be of the image's size (24, 32), got (1, 1)" in stories[3].error
    assert (
        "4 images failed (1 decode, 2 error, 1 memory in this run); the list, with the reasons, is"
        f" {tmp_path / 'out' / 'failures.jsonl'}; --retry-failed tries them again" in summary.sentence()
    )
    again = run(LabelerJob(labeler), store)
    assert (again.failed, again.failed_in_store) == (0, 4)
    assert "2 were done before, 4 failed before" in again.sentence()


def test_too_many_pixels_are_a_failure(tmp_path, image_folder):
    store = store_of(image_folder(2), tmp_path / "out")
    summary = run(LabelerJob(bright_labeler, max_pixels=600), store)
    assert (summary.labelled, summary.failed) == (1, 1)
    assert "more than 600; shrink it, or raise image.max_pixels" in store.failures()[0].error


def test_one_thread_while_labelling(tmp_path, image_folder):
    seen = []

    def labeler(image: Image) -> MaskSet:
        seen.extend(library["num_threads"] for library in threadpool_info())
        return MaskSet.empty(image.shape[:2])

    run(LabelerJob(labeler), store_of(image_folder(1), tmp_path / "out"))
    assert seen and set(seen) == {1}


def test_a_store_is_written_by_one_run(tmp_path, image_folder):
    store = store_of(image_folder(2), tmp_path / "out")
    with store.writer(), pytest.raises(StoreError, match="is being written by process"):
        run(LabelerJob(bright_labeler), store)


def test_a_disk_that_is_full_ends_the_run_and_nothing_is_lost(tmp_path, image_folder):
    folder = image_folder(6)
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole", shard_size=6))
    store = store_of(folder, tmp_path / "out", shard_size=6)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a file that may not grow stands for a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            run(LabelerJob(bright_labeler), store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 0 < store.status().done < 6
    run(LabelerJob(bright_labeler), store)
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_quiet_when_not_a_terminal(tmp_path, image_folder, capfd):
    run(LabelerJob(bright_labeler), store_of(image_folder(3), tmp_path / "out"))
    assert capfd.readouterr() == ("", "")


def test_a_progress_bar_on_a_terminal(tmp_path, image_folder, monkeypatch):
    folder = image_folder(3)
    (folder / "0001.png").write_bytes(b"")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with open(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "out"))
        shown = b""
        while not shown.endswith(b"\n"):  # what was written arrives piece by piece
            shown += os.read(ours, 100_000)
    os.close(ours)
    assert b"3/3" in shown and b"images/s" in shown and b"failed=1" in shown


def interrupting(count: int, at: int) -> Callable[[Image], MaskSet]:
    """A labeler that presses Ctrl-C so many times while it labels image number ``at``."""
    calls = []

    def labeler(image: Image) -> MaskSet:
        calls.append(1)
        if len(calls) == at:
            for _ in range(count):
                os.kill(os.getpid(), signal.SIGINT)
        return bright_labeler(image)

    return labeler


def test_ctrl_c_once_finishes_what_is_under_way(tmp_path, image_folder, capfd):
    folder = image_folder(6)
    store = store_of(folder, tmp_path / "out")
    handler = signal.getsignal(signal.SIGINT)
    summary = run(LabelerJob(interrupting(1, at=3)), store)
    assert (summary.labelled, summary.pending, summary.interrupted) == (3, 3, True)
    assert "the same command goes on" in summary.sentence()
    assert "press Ctrl-C again to leave at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) == handler
    assert run(LabelerJob(bright_labeler), store).labelled == 3
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole"))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_ctrl_c_twice_leaves_at_once_and_resumes(tmp_path, image_folder):
    folder = image_folder(6)
    store = store_of(folder, tmp_path / "out")
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(LabelerJob(interrupting(2, at=3)), store)
    assert signal.getsignal(signal.SIGINT) == handler
    assert [row.index for row in store] == [0, 1]
    assert run(LabelerJob(bright_labeler), store).labelled == 4
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole"))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_sigterm_is_ctrl_c(tmp_path, image_folder):
    store = store_of(image_folder(6), tmp_path / "out")
    calls = []

    def labeler(image: Image) -> MaskSet:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return bright_labeler(image)

    handler = signal.getsignal(signal.SIGTERM)
    summary = run(LabelerJob(labeler), store)
    assert (summary.labelled, summary.pending, summary.interrupted) == (2, 4, True)
    assert signal.getsignal(signal.SIGTERM) == handler


def test_too_many_failures_stop_the_run(tmp_path, image_folder):
    folder = image_folder(6)
    for i in (1, 2, 4):
        (folder / f"{i:04d}.png").write_bytes(b"")
    store = store_of(folder, tmp_path / "out")
    summary = run(LabelerJob(bright_labeler), store, RunOptions(max_failures=2))
    assert (summary.labelled, summary.failed, summary.pending) == (1, 2, 3)
    assert summary.too_many_failures and not summary.interrupted
    assert "stopped by --max-failures: 2 failed" in summary.sentence()
    summary = run(LabelerJob(bright_labeler), store, RunOptions(max_failures=2))
    assert (summary.labelled, summary.failed, summary.pending, summary.too_many_failures) == (2, 1, 0, False)


def test_shards_of_a_store_are_shared_out(tmp_path, image_folder):
    folder = image_folder(10)
    store = store_of(folder, tmp_path / "out")
    summary = run(LabelerJob(bright_labeler), store, RunOptions(shards=range(1, 3)))
    assert (summary.images, summary.labelled, summary.pending) == (6, 6, 0)
    assert [row.index for row in store] == [4, 5, 6, 7, 8, 9]
    summary = run(LabelerJob(bright_labeler), store, RunOptions(shards=range(0, 1), limit=2))
    assert (summary.images, summary.labelled, summary.pending) == (4, 2, 2)
    run(LabelerJob(bright_labeler), store)
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole"))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")


def test_failures_are_tried_again_when_asked(tmp_path, image_folder):
    folder = image_folder(6)

    def failing(image: Image) -> MaskSet:
        if image.shape[0] == 24:
            raise RuntimeError("not these")
        return bright_labeler(image)

    store = store_of(folder, tmp_path / "out")
    assert run(LabelerJob(failing), store).failed == 3
    assert run(LabelerJob(bright_labeler), store).labelled == 0
    summary = run(LabelerJob(bright_labeler), store, RunOptions(retry_failed=True))
    assert (summary.found_done, summary.labelled, summary.failed_in_store) == (3, 3, 0)
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole"))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")
    assert store.failures() == []


def test_a_run_leaves_a_log(tmp_path, image_folder):
    folder = image_folder(3)
    (folder / "0001.png").write_bytes(b"")
    store = store_of(folder, tmp_path / "out")
    text = run(LabelerJob(bright_labeler), store).log_path.read_text(encoding="utf-8")
    assert ": 3 images to label, 0 done or failed before; this process; configuration x; RunOptions(" in text
    assert "INFO failed: 0001.png (decode): ImageError: " in text
    assert "INFO 2 of 3 images labelled in" in text
    with store_of(folder, tmp_path / "out2").writer(), pytest.raises(StoreError):
        run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "out2"))
    assert not (tmp_path / "out2" / "logs").exists()


@pytest.mark.parametrize("name", ["limit", "max_crashes", "max_failures"])
def test_numbers_of_options_are_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        RunOptions(**{name: 0})


class Scripted:
    """An executor whose worker dies: for each image a list of what becomes of it, one thing a try."""

    def __init__(self, results: dict[int, list[Result]], window: int = 2) -> None:
        self.results = results
        self.window = window
        self.handed_over: list[int] = []
        self.waiting: deque[int] = deque()

    @contextmanager
    def session(self, job: Job) -> Iterator[Scripted]:
        self.work = job.work()
        yield self

    def submit(self, key: int, task: Task) -> None:
        self.handed_over.append(key)
        self.waiting.append(key)
        if not self.results.get(key):
            self.results[key] = [self.work(task)]

    def withdraw(self) -> list[int]:
        return []

    def collect(self, timeout_s: float) -> tuple[int, Result] | None:
        key = self.waiting.popleft()
        return key, self.results[key].pop(0)


def test_a_task_that_is_lost_is_handed_over_again_after_others(tmp_path, image_folder):
    store = store_of(image_folder(10), tmp_path / "out")
    executor = Scripted({1: [Lost("killed by SIGKILL")]})
    summary = run(LabelerJob(bright_labeler), store, executor=executor)
    assert (summary.labelled, summary.failed) == (10, 0)
    again = [i for i, key in enumerate(executor.handed_over) if key == 1]
    assert len(again) == 2 and again[1] - again[0] >= 4  # a shard's worth of others in between
    executor = Scripted({9: [Lost("killed by SIGKILL")]})
    assert run(LabelerJob(bright_labeler), store_of(tmp_path / "images", tmp_path / "b"), executor=executor).failed == 0
    assert executor.handed_over[-2:] == [9, 9]  # no others


def test_deaths_over_an_image_are_counted(tmp_path, image_folder):
    folder = image_folder(6)
    lost = Lost("killed by SIGSEGV", "Fatal Python error")
    executor = Scripted({1: [lost, lost], 2: [lost]})
    store = store_of(folder, tmp_path / "out")
    summary = run(LabelerJob(bright_labeler), store, executor=executor)
    assert (summary.labelled, summary.failed, summary.failed_by_kind) == (5, 1, {"crash": 1})
    (story,) = store.failures()
    assert (story.index, story.kind, story.attempts, story.traceback) == (1, "crash", 2, "Fatal Python error")
    assert story.error == "its worker was killed by SIGSEGV"
    full = Lost("killed, as memory ran low", kind="memory")
    executor = Scripted({1: [full, full]})
    assert run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "c"), executor=executor).failed_by_kind == {
        "memory": 1
    }
    executor = Scripted({1: [lost, lost, lost], 2: [lost]})
    store = store_of(folder, tmp_path / "b")
    assert run(LabelerJob(bright_labeler), store, RunOptions(max_crashes=4), executor=executor).failed == 0


def test_a_failure_after_a_crash_was_tried_twice(tmp_path, image_folder):
    store = store_of(image_folder(3), tmp_path / "out")
    executor = Scripted({1: [Lost("killed by SIGKILL"), Failed("error", "ValueError: no")]})
    assert run(LabelerJob(bright_labeler), store, executor=executor).failed == 1
    assert [(story.kind, story.attempts) for story in store.failures()] == [("error", 2)]


def test_the_log_says_over_which_image_a_worker_died(tmp_path, image_folder):
    store = store_of(image_folder(3), tmp_path / "out")
    executor = Scripted({1: [Lost("killed by SIGKILL")]})
    text = run(LabelerJob(bright_labeler), store, executor=executor).log_path.read_text(encoding="utf-8")
    assert "WARNING 0001.png: its worker was killed by SIGKILL" in text


def test_a_limit_leaves_failures_beyond_it_alone(tmp_path, image_folder):
    folder = image_folder(8)
    for i in (1, 5, 6):
        (folder / f"{i:04d}.png").write_bytes(b"")
    store = store_of(folder, tmp_path / "out")
    assert run(LabelerJob(bright_labeler), store).failed == 3
    before = shard_bytes(tmp_path / "out")
    summary = run(LabelerJob(bright_labeler), store, RunOptions(limit=4, retry_failed=True))
    assert (summary.failed, summary.pending) == (1, 2)  # two are beyond the limit
    assert ", 5 were done before, 2 still to do\n" in summary.sentence()
    assert shard_bytes(tmp_path / "out") == before
    assert [story.index for story in store.failures()] == [1, 5, 6]


def test_an_image_is_not_blamed_for_a_machine_until_ten_are_gone(tmp_path, image_folder):
    stray = Lost("on a node that went away", blameless=True)
    executor = Scripted({0: [stray] * 9, 1: [stray] * 10})
    store = store_of(image_folder(3), tmp_path / "out")
    assert run(LabelerJob(bright_labeler), store, executor=executor).failed_by_kind == {"crash": 1}
    assert [(story.index, story.attempts) for story in store.failures()] == [(1, 10)]


def test_outside_the_main_thread(tmp_path, image_folder):
    store = store_of(image_folder(2), tmp_path / "out")
    thread = threading.Thread(target=run, args=(LabelerJob(bright_labeler), store))
    thread.start()
    thread.join()
    assert store.status().done == 2


RUN_AND_COUNT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from conftest import bright_labeler
from test_run import store_of
from dico.job import LabelerJob
from dico.run import run

def labeler(image):
    with open(sys.argv[3], "ab", buffering=0) as counter:
        counter.write(b"x")
    time.sleep(0.01)
    return bright_labeler(image)

run(LabelerJob(labeler), store_of(Path(sys.argv[1]), Path(sys.argv[2]), shard_size=16))
"""


def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, image_folder):
    folder = image_folder(40)
    (folder / "0007.png").write_bytes(b"not an image")
    run(LabelerJob(bright_labeler), store_of(folder, tmp_path / "whole", shard_size=16))
    counter = tmp_path / "counter"
    arguments = [sys.executable, "-c", RUN_AND_COUNT, str(folder), str(tmp_path / "out"), str(counter)]
    arguments.append(str(Path(__file__).parent))
    kills = 0
    for kill_after in (5, 19, 33):
        process = subprocess.Popen(arguments)
        while process.poll() is None and (counter.stat().st_size if counter.exists() else 0) < kill_after + kills:
            threading.Event().wait(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        kills += 1
        assert store_of(folder, tmp_path / "out", shard_size=16).status().pending > 0
    assert subprocess.run(arguments, check=False).returncode == 0
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "whole")
    assert (tmp_path / "out" / "failures.jsonl").read_bytes() == (tmp_path / "whole" / "failures.jsonl").read_bytes()
    labelled_times = counter.stat().st_size
    assert 39 <= labelled_times <= 39 + kills

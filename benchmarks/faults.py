"""What a run survives: each fault is caused on purpose, and the store compared with that of an undisturbed run.

``redone`` counts what was begun again beyond once an image; ``bytes equal`` compares every shard with what one process
writes without the fault, or, where images fail for good, with their rows and those of the others as they must be.

Example:
    python -m benchmarks.faults
    python -m benchmarks.faults --executors pool
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faulty import begun, draw_pictures, open_store
from benchmarks.measure import figure, print_figures

ROOT = Path(__file__).resolve().parent.parent
DRIVER = "import sys; from benchmarks.faulty import main; sys.exit(main())"


@dataclass(frozen=True)
class Survival:
    """What became of a run with a fault.

    Attributes:
        fault: What was done to it.
        executor: Who did the work.
        images: Images of the run.
        good: Images that got masks.
        recorded: Images that were recorded as failures, by kind.
        redone: Images begun again, beyond once each.
        allowed: How many of these the fault excuses: those in work when something was killed.
        bytes_equal: Whether the shards are those of a run without the fault.
    """

    fault: str
    executor: str
    images: int
    good: int
    recorded: tuple[str, ...]
    redone: int
    allowed: int
    bytes_equal: bool

    @property
    def lossless(self) -> bool:
        """Whether every image has its row, nothing more was redone than the fault excuses, and the bytes are equal."""
        return self.good + len(self.recorded) == self.images and self.redone <= self.allowed and self.bytes_equal


def driver_killed(folder: Path, executor: str, *, images: int = 200, kills: int = 4) -> Survival:
    """The process that writes the store is killed again and again; the same command goes on."""
    bench = _Bench(folder, images)
    workers = 2
    for i in range(kills):
        enough = (i + 1) * images // (kills + 1)
        with bench.start(executor, workers) as driver:
            _wait_until(lambda n=enough: len(begun(bench.attempts)) >= n, driver)
            driver.kill()
    bench.finish(executor, workers)
    return bench.survival(f"driver killed {kills} times", executor, allowed=kills * workers)


def workers_killed(folder: Path, executor: str, *, images: int = 200, kills: int = 3) -> Survival:
    """Workers are killed by their process ids, one after the other, in the middle of an image."""
    bench = _Bench(folder, images)
    with bench.start(executor, 2) as driver:
        for i in range(kills):
            enough = (i + 1) * images // (kills + 1)
            _wait_until(lambda n=enough: len(begun(bench.attempts)) >= n, driver)
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(begun(bench.attempts)[-1], signal.SIGKILL)
        code = driver.wait()
    _check(code == 0, f"the driver ended with {code}")
    return bench.survival(f"{kills} workers killed", executor, allowed=kills)


def bad_images(folder: Path, executor: str, *, images: int = 60, timeout_s: float = 3.0) -> Survival:
    """One image raises, one crashes its worker, one hangs, one ends the process: the others do not suffer."""
    faults = {images // 5: "raise", images // 3: "segfault", images // 2: "hang", images - 2: "exit"}
    bench = _Bench(folder, images, faults)
    with bench.start(executor, 2, "--timeout", str(timeout_s)) as driver:
        code = driver.wait()
    _check(code == 1, f"the driver ended with {code}")
    # Two that kill their worker are begun twice; a worker beside them is not disturbed.
    return bench.survival("raise, segfault, hang, exit", executor, allowed=2)


def node_lost(folder: Path, executor: str = "ray", *, images: int = 200) -> Survival:
    """A cluster of three nodes loses one in the middle of the run."""
    bench = _Bench(folder, images)
    with bench.start(executor, 3, "--lose-node-after", str(images // 3), "--seconds", "0.1") as driver:
        code = driver.wait()
    _check(code == 0, f"the driver ended with {code}")
    return bench.survival("one of three nodes lost", executor, allowed=1)


def interrupted(folder: Path, executor: str, *, images: int = 60) -> Survival:
    """Ctrl-C in the middle: what is under way is finished, and nothing is done twice."""
    bench = _Bench(folder, images)
    with bench.start(executor, 2) as driver:
        _wait_until(lambda: len(begun(bench.attempts)) >= images // 2, driver)
        driver.send_signal(signal.SIGINT)
        code = driver.wait()
    _check(code == 3, f"the driver ended with {code}")
    bench.finish(executor, 2)
    return bench.survival("Ctrl-C", executor, allowed=0)


class _Bench:
    """Pictures, a run that is disturbed, and one in a single process that is not."""

    def __init__(self, folder: Path, images: int, faults: dict[int, str] | None = None) -> None:
        self.folder = folder
        self.images = images
        self.faults = faults or {}
        self.attempts = folder / "attempts.txt"
        draw_pictures(folder / "images", images, faults)

    def start(self, executor: str, workers: int, *options: str, output: str = "labels") -> subprocess.Popen[bytes]:
        arguments = [str(self.folder / name) for name in ("images", output)]
        attempts = self.attempts if output == "labels" else self.folder / f"{output}.txt"
        command = [sys.executable, "-c", DRIVER, *arguments, str(attempts), "--executor", executor]
        return subprocess.Popen(
            [*command, "--num-workers", str(workers), *options], cwd=ROOT, stderr=subprocess.DEVNULL
        )

    def finish(self, executor: str, workers: int) -> None:
        with self.start(executor, workers) as driver:
            code = driver.wait()
        _check(code == 0, f"the driver that finishes ended with {code}")

    def survival(self, fault: str, executor: str, *, allowed: int) -> Survival:
        rows = list(open_store(self.folder / "images", self.folder / "labels"))
        _check(len({row.index for row in rows}) == len(rows), "an image has two rows")
        return Survival(
            fault,
            executor,
            self.images,
            sum(row.status == "done" for row in rows),
            tuple(sorted(row.kind for row in rows if row.kind is not None)),
            len(begun(self.attempts)) - self.images,
            allowed,
            self._shards("labels") == self._undisturbed(),
        )

    def _undisturbed(self) -> dict[str, bytes]:
        """The shards of one process; with faults that would end it, those of the rows alone that it can make."""
        if not self.faults:
            with self.start("inline", 1, "--seconds", "0", output="undisturbed") as driver:
                _check(driver.wait() == 0, "the undisturbed run failed")
        else:
            _write_expected(self.folder, self.faults)
        return self._shards("undisturbed")

    def _shards(self, name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / name / "shards").iterdir())}


def _write_expected(folder: Path, faults: dict[int, str]) -> None:
    """The store that a run with faults must give: the rows of the good images, and the kinds that are asked for."""
    from benchmarks.faulty import FaultyLabeler
    from dico.store import Failure
    from dico.task import Labelled, LabelWork, Task

    kinds = {"raise": "error", "segfault": "crash", "hang": "timeout", "exit": "crash"}
    store = open_store(folder / "images", folder / "undisturbed")
    work = LabelWork(FaultyLabeler(folder / "undisturbed.txt", 0.0), 10**6)
    with store.writer() as writer:
        for entry in store.manifest.entries:
            if entry.index in faults:
                writer.fail(Failure(entry.index, entry.path, kinds[faults[entry.index]], "expected"))  # type: ignore[arg-type]
                continue
            outcome = work(Task(entry, store.image_path(entry)))
            _check(isinstance(outcome, Labelled), f"{entry.path} failed: {outcome}")
            if isinstance(outcome, Labelled):
                writer.add(entry.index, outcome.row)


def _wait_until(reached: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    while not reached():
        _check(driver.poll() is None, f"the driver ended with {driver.returncode} before it could be disturbed")
        time.sleep(0.005)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)


SCENARIOS: tuple[tuple[Callable[..., Survival], tuple[str, ...]], ...] = (
    (driver_killed, ("pool", "ray")),
    (workers_killed, ("pool", "ray")),
    (bad_images, ("pool", "ray")),
    (interrupted, ("pool", "ray")),
    (node_lost, ("ray",)),
)


def table(survivals: Sequence[Survival]) -> str:
    """All of them as a table."""
    head = ("fault", "executor", "images", "good", "recorded", "redone", "allowed", "bytes equal")
    rows = [
        (
            *(str(value) for value in (s.fault, s.executor, s.images, s.good)),
            f"{len(s.recorded)}" + (f" ({', '.join(s.recorded)})" if s.recorded else ""),
            *(str(value) for value in (s.redone, s.allowed, "yes" if s.bytes_equal else "NO")),
        )
        for s in survivals
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Causes every fault and prints what became of the runs; 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executors", nargs="+", choices=("pool", "ray"), default=("pool", "ray"))
    args = parser.parse_args(argv)
    wanted = [name for name in args.executors if name != "ray" or importlib.util.find_spec("ray")]
    survivals = []
    for scenario, executors in SCENARIOS:
        for executor in executors:
            if executor in wanted:
                with tempfile.TemporaryDirectory() as folder:
                    survivals.append(scenario(Path(folder), executor))
                    print(table(survivals[-1:]).splitlines()[1], flush=True)
    print(f"\n{table(survivals)}\n")
    survived = sum(survival.lossless for survival in survivals)
    print_figures([figure("faults survived without loss", survived, len(survivals), "runs", higher_is_better=True)])
    return int(survived < len(survivals))


if __name__ == "__main__":
    sys.exit(main())

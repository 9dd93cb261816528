"""The same photographs labelled by one process, by pools and by Ray: equal bytes, and how much two workers are worth.

Workers are timed from the moment all of them are at work, so that neither starting them nor the last image, over which
one is left alone, counts; start-up is printed beside it. With ten photographs ``auto`` is timed beside the labeler.

Example:
    python -m benchmarks.executor_scaling
    python -m benchmarks.executor_scaling --images 16 --runs inline pool:2
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from benchmarks.dev_sets import MissingDataError, data_folder, evenly_spaced
from benchmarks.faulty import make_executor
from benchmarks.measure import figure, print_figures, skipped
from dico.cli import main as dico
from dico.config import PipelineConfig
from dico.executors import Executor, Session
from dico.inputs import list_images
from dico.job import Job, PipelineJob
from dico.labeler import PseudoLabeler
from dico.run import RunOptions, run
from dico.store import Manifest, MaskStore
from dico.task import Result

LEAST_TWO = 1.85
"""What two workers must be worth."""
MOST_AUTO_S = 0.5
"""What ``dico label`` may add to labelling ten images."""
FEW = 10


class Watched:
    """An executor that remembers when results came."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.times: list[float] = []

    def __str__(self) -> str:
        return str(self.executor)

    @contextmanager
    def session(self, job: Job) -> Iterator[WatchedSession]:
        """The executor's session, watched."""
        with self.executor.session(job) as session:
            yield WatchedSession(session, self.times)


class WatchedSession:
    """A session that notes when results come."""

    def __init__(self, session: Session, times: list[float]) -> None:
        self.window = session.window
        self.submit = session.submit
        self.withdraw = session.withdraw
        self._session = session
        self._times = times

    def collect(self, timeout_s: float) -> tuple[int, Result] | None:
        """The session's next result."""
        found = self._session.collect(timeout_s)
        if found is not None:
            self._times.append(time.perf_counter())
        return found


@dataclass(frozen=True)
class Timing:
    """One run.

    Attributes:
        name: Executor and number of workers.
        seconds: All of it, with starting.
        first: Seconds until the first image was done.
        per_s: Images a second while every worker was at work.
        shards: What was written.
    """

    name: str
    seconds: float
    first: float
    per_s: float
    shards: dict[str, bytes]


def label_with(name: str, workers: int, images: Sequence[Path], root: Path, output: Path) -> Timing:
    """Labels photographs into a new store."""
    config = PipelineConfig()
    manifest = Manifest.of_files(images, root=root, config=config.to_dict(), config_hash=config.hash(), shard_size=16)
    executor = Watched(make_executor(name, workers))
    started = time.perf_counter()
    summary = run(
        PipelineJob(config), MaskStore.create(output, manifest), RunOptions(show_progress=False), executor=executor
    )
    seconds = time.perf_counter() - started
    if summary.labelled != len(images):
        raise RuntimeError(f"{name} x {workers} labelled {summary.labelled} of {len(images)} photographs")
    steady = executor.times[workers - 1 : len(executor.times) - workers + 1]
    per_s = (len(steady) - 1) / (steady[-1] - steady[0])
    shards = {path.name: path.read_bytes() for path in sorted((output / "shards").iterdir())}
    return Timing(f"{name} x{workers}", seconds, executor.times[0] - started, per_s, shards)


def auto_beside_labeler(images: Sequence[Path], folder: Path) -> tuple[float, float]:
    """Seconds of ``dico label`` with few images, and of the labeler alone on the same; compiled code is warm."""
    listing = folder / "few.txt"
    listing.write_text("".join(f"{path}\n" for path in images), encoding="utf-8")
    labeler = PseudoLabeler.from_config()
    labeler(images[0])
    started = time.perf_counter()
    if dico(["label", str(listing), str(folder / "few"), "--quiet"]) != 0:
        raise RuntimeError("dico label failed")
    auto = time.perf_counter() - started
    with threadpool_limits(1):
        started = time.perf_counter()
        for path in images:
            labeler(path)
        return auto, time.perf_counter() - started


def main(argv: Sequence[str] | None = None) -> int:
    """Labels, times and compares; 1 when bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--runs", nargs="+", default=["inline:1", "pool:1", "pool:2", "pool:4", "ray:1", "ray:2"])
    args = parser.parse_args(argv)
    try:
        root = data_folder() / "dev" / "bsds_train" / "images"
    except MissingDataError as error:
        return skipped(str(error))
    images = evenly_spaced(list_images(root), args.images)
    wanted = [entry for entry in args.runs if not entry.startswith("ray") or importlib.util.find_spec("ray")]
    timings = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in wanted:
            name, _, workers = entry.partition(":")
            timings.append(label_with(name, int(workers or 1), images, root, Path(folder) / entry.replace(":", "x")))
            last = timings[-1]
            print(
                f"{last.name}: {last.seconds:.1f} s for {len(images)} images, the first after {last.first:.1f} s,"
                f" {last.per_s:.3f} images/s at work; bytes equal to {timings[0].name}:"
                f" {'yes' if last.shards == timings[0].shards else 'NO'}",
                flush=True,
            )
        auto, alone = auto_beside_labeler(images[:FEW], Path(folder))
    print(f"{min(FEW, len(images))} images with auto: {auto:.2f} s, the labeler alone {alone:.2f} s")
    print(f"{os.cpu_count()} cores")
    by_name = {timing.name: timing for timing in timings}
    equal = sum(timing.shards == timings[0].shards for timing in timings)
    figures = [
        figure("runs with equal bytes", equal, len(timings), "runs", higher_is_better=True),
        figure("auto beyond the labeler, ten images", auto - alone, MOST_AUTO_S, "s"),
    ]
    for kind in ("pool", "ray"):
        one, two = by_name.get(f"{kind} x1"), by_name.get(f"{kind} x2")
        if one and two:
            figures.append(
                figure(f"{kind}: two workers / one", two.per_s / one.per_s, LEAST_TWO, "times", higher_is_better=True)
            )
    print_figures(figures)
    return int(equal < len(timings))


if __name__ == "__main__":
    sys.exit(main())

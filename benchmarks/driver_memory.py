"""Resident memory of the process that writes the store, after 1,000 and after 100,000 results, and results a second.

The results are synthetic and there are no workers: what is measured is everything else that a run does.

Example:
    python benchmarks/driver_memory.py
    python benchmarks/driver_memory.py --results 20000
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.measure import figure, print_figures
from dico.job import Job, LabelerJob
from dico.masks import MaskSet
from dico.run import RunOptions, run
from dico.store import ImageEntry, Manifest, MaskStore, encode_row
from dico.task import Labelled, Result, Task

MOST_GROWTH_MB = 50.0
"""What the memory may grow by between the two."""
FEW = 1_000


class Synthetic:
    """An executor whose results are there at once: noise, different for every image.

    Attributes:
        seen: After how many results the memory was looked at, and the megabytes.
    """

    window = 8

    def __init__(self, masks: int, look_at: Sequence[int]) -> None:
        rng = np.random.default_rng(0)
        # A pool of masks, so that making them is not what is measured.
        self._pool = [MaskSet.from_arrays(rng.random((masks, 20, 30)) > 0.5) for _ in range(32)]
        self._look_at = look_at
        self._tasks: deque[tuple[int, Task]] = deque()
        self._count = 0
        self.seen: dict[int, float] = {}

    @contextmanager
    def session(self, job: Job) -> Iterator[Synthetic]:
        """Itself."""
        yield self

    def submit(self, key: int, task: Task) -> None:
        """Takes a task."""
        self._tasks.append((key, task))

    def withdraw(self) -> list[int]:
        """Nothing to take back."""
        return []

    def collect(self, timeout_s: float) -> tuple[int, Result]:
        """The result of the next task."""
        self._count += 1
        if self._count in self._look_at:
            self.seen[self._count] = resident_mb()
        key, task = self._tasks.popleft()
        masks = self._pool[key % len(self._pool)]
        return key, Labelled(encode_row(task.entry, masks), len(masks), {"conquer": 1.0})


def resident_mb() -> float:
    """Resident memory of this process in megabytes, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, looks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--masks", type=int, default=10, help="of each image (10)")
    args = parser.parse_args(argv)
    executor = Synthetic(args.masks, (FEW, args.results))
    with tempfile.TemporaryDirectory() as folder:
        entries = tuple(ImageEntry(i, f"train/{i // 1000:06d}/{i:09d}.jpg", 100_000) for i in range(args.results))
        manifest = Manifest(folder, entries, {}, "synthetic")
        del entries
        store = MaskStore.create(Path(folder) / "labels", manifest)
        started = time.perf_counter()
        summary = run(LabelerJob(no_labeler), store, RunOptions(show_progress=False), executor=executor)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in (store.path / "shards").iterdir())
    if summary.labelled != args.results:
        raise RuntimeError(f"{summary.labelled} of {args.results} results were written")
    few, many = executor.seen[FEW], executor.seen[args.results]
    print(f"resident: {few:.0f} MB after {FEW:,} results, {many:.0f} MB after {args.results:,}")
    print(f"{args.results / seconds:.0f} results/s of {size / args.results / 1000:.1f} KB compressed, one core")
    print_figures(
        [
            figure(f"memory grown, {FEW:,} to {args.results:,} results", many - few, MOST_GROWTH_MB, "MB"),
            figure("results a second", args.results / seconds, None, "1/s", higher_is_better=True),
        ]
    )
    return 0


def no_labeler(image: object) -> MaskSet:
    """Never called: the executor has results of its own."""
    raise NotImplementedError


if __name__ == "__main__":
    sys.exit(main())

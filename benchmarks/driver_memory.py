"""Resident memory of the process that writes the store, after 1,000 and after 100,000 results, and results a second.

There are no workers: the masks of a few photographs come again and again, as rows of full size. What is measured is
everything else that a run does.

Example:
    python -m benchmarks.driver_memory
    python -m benchmarks.driver_memory --results 20000
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

from benchmarks.measure import figure, print_figures
from benchmarks.photographs import photographs
from dico.job import Job, LabelerJob
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.run import RunOptions, run
from dico.store import ImageEntry, Manifest, MaskStore, encode_row
from dico.task import Labelled, Result, Task

MOST_GROWTH_MB = 50.0
"""What the memory may grow by between the two."""
FEW = 1_000


class Synthetic:
    """An executor whose results are there at once.

    Args:
        rows: Encoded rows whose masks it gives, by turns: encoding is the workers' business.
        look_at: After how many results the memory is looked at.

    Attributes:
        seen: After how many results the memory was looked at, and the megabytes.
    """

    window = 8

    def __init__(self, rows: Sequence[bytes], look_at: Sequence[int]) -> None:
        self._rest = [row.partition(b',"status"') for row in rows]
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
        _, middle, end = self._rest[key % len(self._rest)]
        row = b'{"index":%d,"path":"%s"' % (key, task.entry.path.encode()) + middle + end
        return key, Labelled(row, 1, {"conquer": 1.0})


def resident_mb() -> float:
    """Resident memory of this process in megabytes, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, looks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=100_000)
    parser.add_argument("--photographs", type=int, default=4, help="whose masks are used (4)")
    args = parser.parse_args(argv)
    labeler = PseudoLabeler.from_config()
    first = ImageEntry(0, "first.jpg", 0)
    rows = [encode_row(first, labeler(image)) for image in photographs(args.photographs).values()]
    executor = Synthetic(rows, (FEW, args.results))
    with tempfile.TemporaryDirectory() as folder:
        entries = tuple(ImageEntry(i, f"train/{i // 1000:06d}/{i:09d}.jpg", 100_000) for i in range(args.results))
        manifest = Manifest(folder, entries, {}, "synthetic")
        del entries
        store = MaskStore.create(Path(folder) / "labels", manifest)
        started = time.perf_counter()
        summary = run(LabelerJob(no_labeler), store, RunOptions(show_progress=False), executor=executor)
        seconds = time.perf_counter() - started
    row_kb = sum(map(len, rows)) / len(rows) / 1000
    if summary.labelled != args.results:
        raise RuntimeError(f"{summary.labelled} of {args.results} results were written")
    few, many = executor.seen[FEW], executor.seen[args.results]
    print(f"resident: {few:.0f} MB after {FEW:,} results, {many:.0f} MB after {args.results:,}")
    print(f"{args.results / seconds:.0f} results/s of {row_kb:.0f} KB, one core")
    print_figures(
        [
            figure(f"memory grown, {FEW:,} to {args.results:,} results", max(0.0, many - few), MOST_GROWTH_MB, "MB"),
            figure("results a second", args.results / seconds, None, "1/s", higher_is_better=True),
        ]
    )
    return 0


def no_labeler(image: object) -> MaskSet:
    """Never called: the executor has results of its own."""
    raise NotImplementedError


if __name__ == "__main__":
    sys.exit(main())

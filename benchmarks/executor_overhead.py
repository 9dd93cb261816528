"""What an executor adds to images that take 100 ms each: time of the run beside the time of the work alone.

The work either sleeps or keeps a core busy; starting the workers does not count.

Example:
    python -m benchmarks.executor_overhead
    python -m benchmarks.executor_overhead --executors pool --images 100
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.executor_scaling import Watched
from benchmarks.faulty import Lasting, draw_pictures, make_executor, open_store
from benchmarks.measure import figure, print_figures
from dico.job import LabelerJob
from dico.run import RunOptions, run

MOST_PERCENT = 5.0
"""What an executor may add."""


def overhead_percent(executor: str, workers: int, labeler: Lasting, count: int) -> float:
    """By how much a run takes longer than its share of the work, in percent, once its workers are at work."""
    with tempfile.TemporaryDirectory() as folder:
        draw_pictures(Path(folder) / "images", count)
        store = open_store(Path(folder) / "images", Path(folder) / "labels", shard_size=256)
        watched = Watched(make_executor(executor, workers))
        run(LabelerJob(labeler), store, RunOptions(show_progress=False), executor=watched)
    times = watched.times[workers - 1 : len(watched.times) - workers + 1]
    return 100 * ((times[-1] - times[0]) * workers / (len(times) - 1) / labeler.seconds - 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Times every executor and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executors", nargs="+", choices=("inline", "pool", "ray"), default=("inline", "pool", "ray"))
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.1, help="work of an image (0.1)")
    args = parser.parse_args(argv)
    figures = []
    for executor in args.executors:
        if executor == "ray" and importlib.util.find_spec("ray") is None:
            continue
        for busy, workers in ((False, 1), (True, 1), (False, 2), (True, 2)):
            if executor == "inline" and workers > 1:
                continue
            percent = overhead_percent(executor, workers, Lasting(args.seconds, busy), args.images)
            name = f"{executor} x{workers}, {'busy' if busy else 'asleep'}"
            print(f"{name}: {percent:.2f} % over {args.seconds * 1000:.0f} ms an image", flush=True)
            figures.append(figure(f"overhead of {name}", percent, MOST_PERCENT, "%"))
    print_figures(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Labelers for benchmarks of runs, where workers can import them, and a driver to be killed."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from dico.executors import Executor, InlineExecutor
from dico.image import Image
from dico.inputs import list_images
from dico.job import LabelerJob
from dico.masks import MaskSet
from dico.run import RunOptions, run
from dico.store import Manifest, MaskStore

FAULTS = ("raise", "segfault", "hang", "exit")
_MARK = 200
"""Red of the first pixel of a picture without a fault; one more for each fault."""


@dataclass(frozen=True)
class FaultyLabeler:
    """Labels what is brighter than the mean, unless the picture says how to fail.

    Attributes:
        attempts: A file that gets a line with the process id for every picture that is begun.
        seconds: How long a picture takes.
    """

    attempts: Path
    seconds: float

    def __call__(self, image: Image) -> MaskSet:
        """The masks of a picture, or what its first pixel asks for."""
        with open(self.attempts, "ab", buffering=0) as stream:
            stream.write(b"%d\n" % os.getpid())
        time.sleep(self.seconds)
        match _fault_of(image):
            case "raise":
                raise RuntimeError("as the picture asked")
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(3600)
            case "exit":
                os._exit(3)
        grey_HW = image.mean(axis=2)
        return MaskSet.from_arrays(np.stack([grey_HW > grey_HW.mean(), grey_HW >= grey_HW.max()]))


@dataclass(frozen=True)
class Lasting:
    """A labeler that takes a time, and gives the same masks whatever it is shown.

    Attributes:
        seconds: The time.
        busy: Whether it keeps a core busy; else it sleeps.
    """

    seconds: float
    busy: bool

    def __call__(self, image: Image) -> MaskSet:
        """Twenty masks of noise, when the time is over."""
        until = time.perf_counter() + self.seconds
        masks_NHW = np.random.default_rng(0).random((20, *image.shape[:2])) > 0.5
        masks = MaskSet.from_arrays(masks_NHW)
        while self.busy and time.perf_counter() < until:
            pass
        time.sleep(max(0.0, until - time.perf_counter()))
        return masks


def draw_pictures(folder: Path, count: int, faults: dict[int, str] | None = None) -> None:
    """Writes noise as PNG files, some of which say how to fail.

    Args:
        folder: Made for them.
        count: How many.
        faults: One of ``FAULTS`` by the number of the picture.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels_HW3 = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        fault = (faults or {}).get(i)
        pixels_HW3[0, 0] = (_MARK + (1 + FAULTS.index(fault) if fault else 0), 0, 0)
        PIL.Image.fromarray(pixels_HW3).save(folder / f"{i:05d}.png")


def begun(attempts: Path) -> list[int]:
    """The process id of every picture that was begun so far, in order."""
    lines = attempts.read_bytes().split(b"\n") if attempts.exists() else []
    return [int(line) for line in lines[:-1]]


def make_executor(name: str, workers: int, *, timeout_s: float | None = None, address: str | None = None) -> Executor:
    """An executor by its name on the command line."""
    if name == "ray":
        from dico.cluster.executor import RayExecutor

        return RayExecutor(address, workers, timeout_s=timeout_s)
    if name == "pool":
        from dico.executors.pool import PoolExecutor

        return PoolExecutor(workers, timeout_s=timeout_s)
    return InlineExecutor()


def open_store(images: Path, output: Path, *, shard_size: int = 16) -> MaskStore:
    """The store of a folder of pictures, new or begun."""
    files = list_images(images)
    manifest = Manifest.of_files(files, root=images, config={}, config_hash="faulty", shard_size=shard_size)
    return MaskStore.create(output, manifest)


def main(argv: Sequence[str] | None = None) -> int:
    """Labels a folder; 1 when pictures failed, 3 when not all were tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("attempts", type=Path)
    parser.add_argument("--executor", choices=("inline", "pool", "ray"), default="inline")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--seconds", type=float, default=0.02, help="how long a picture takes")
    parser.add_argument("--lose-node-after", type=int, metavar="N", help="three Ray nodes, of which one goes away")
    args = parser.parse_args(argv)
    store = open_store(args.images, args.output)
    job = LabelerJob(FaultyLabeler(args.attempts, args.seconds))

    def label(address: str | None = None) -> int:
        executor = make_executor(args.executor, args.num_workers, timeout_s=args.timeout, address=address)
        summary = run(job, store, RunOptions(show_progress=False), executor=executor)
        print(summary.sentence(), file=sys.stderr)
        return 3 if summary.pending else int(bool(summary.failed_in_store))

    return label() if args.lose_node_after is None else _with_a_lost_node(label, args.attempts, args.lose_node_after)


def _fault_of(image: Image) -> str | None:
    red, green, blue = (int(value) for value in image[0, 0])
    return FAULTS[red - _MARK - 1] if (green, blue) == (0, 0) and _MARK < red <= _MARK + len(FAULTS) else None


def _with_a_lost_node(label: Callable[[str], int], attempts: Path, after: int) -> int:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def lose() -> None:
        while len(begun(attempts)) < after:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)

    threading.Thread(target=lose, daemon=True).start()
    try:
        return label(cluster.address)
    finally:
        cluster.shutdown()

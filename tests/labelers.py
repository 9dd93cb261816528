"""Labelers that worker processes can import: one that is quick, and those that things go wrong with."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dico.features.base import Extractor, PatchFeatures
from dico.image import Image
from dico.job import LabelerJob, PipelineJob
from dico.masks import MaskSet
from dico.task import Labeler, LabelWork, Work


def whole(image: Image) -> MaskSet:
    """One mask, of the brighter pixels."""
    grey_HW = image.mean(axis=2)
    return MaskSet.from_arrays((grey_HW >= grey_HW.mean())[None], source="test")


def segfault(image: Image) -> MaskSet:
    print("about to read address 0", file=sys.stderr)
    ctypes.string_at(0)
    return whole(image)


def leave(image: Image) -> MaskSet:
    os._exit(3)


def hang(image: Image) -> MaskSet:
    time.sleep(3600)
    return whole(image)


def complain(image: Image) -> MaskSet:
    raise ValueError("this image is not to its taste")


def interrupt_all(image: Image) -> MaskSet:
    """Does what Ctrl-C on a terminal and the end of a batch job do."""
    os.killpg(0, signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return whole(image)


def chat(image: Image) -> MaskSet:
    print("on standard output", flush=True)
    subprocess.run(["echo", "from a child on standard output"], check=True)
    return whole(image)


def fork_and_die(image: Image) -> MaskSet:
    """Dies, and leaves a child that holds every open file of it, the line to the parent among them."""
    if os.fork() == 0:
        time.sleep(3600)
    os.kill(os.getpid(), signal.SIGSEGV)
    return whole(image)


def hang_up(image: Image) -> MaskSet:
    """Closes what it does not know, and lives on."""
    os.closerange(3, 256)
    return hang(image)


def count_threads(image: Image) -> MaskSet:
    """Complains unless every library has one thread."""
    import numpy as np
    from scipy import linalg
    from threadpoolctl import threadpool_info

    linalg.eigh(np.eye(2) @ np.eye(2))  # both libraries are there
    pools = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    if set(pools.values()) != {1} or os.environ["OMP_NUM_THREADS"] != "1":
        raise RuntimeError(f"threads: {pools}")
    return whole(image)


@dataclass(frozen=True)
class ByHeight:
    """For images of some heights another labeler; ``ballast`` makes it heavy."""

    others: Mapping[int, Labeler]
    ballast: bytes = b""

    def __call__(self, image: Image) -> MaskSet:
        return self.others.get(image.shape[0], whole)(image)


@dataclass(frozen=True)
class Noisy:
    """Writes so many bytes for each image, and dies over images of a height."""

    bytes_per_image: int
    fatal_height: int

    def __call__(self, image: Image) -> MaskSet:
        sys.stderr.write(f"\n{'x' * self.bytes_per_image}\n")
        if image.shape[0] == self.fatal_height:
            sys.stderr.write("the last words")
            sys.stderr.flush()
            os._exit(7)
        return whole(image)


@dataclass(frozen=True)
class Marked:
    """Leaves a file named like its process in a folder, and then hangs."""

    folder: Path

    def __call__(self, image: Image) -> MaskSet:
        (self.folder / str(os.getpid())).touch()
        return hang(image)


@dataclass(frozen=True)
class BrokenJob(LabelerJob):
    """Cannot make its work."""

    def work(self, extractor: object = None) -> Work:
        raise ValueError("extractor.weights: there is no such file")


@dataclass(frozen=True)
class HopelessJob(LabelerJob):
    """Dies of making its work."""

    def work(self, extractor: object = None) -> Work:
        print("no such luck", file=sys.stderr, flush=True)
        os._exit(9)


@dataclass(frozen=True)
class SleepyJob(LabelerJob):
    """Takes for ever to make its work."""

    def work(self, extractor: object = None) -> Work:
        time.sleep(3600)
        return super().work()


@dataclass(frozen=True)
class RareJob(LabelerJob):
    """Can make its work once, and then no more until the folder is empty again; the labeler may empty it."""

    folder: Path = Path()

    def work(self, extractor: object = None) -> Work:
        if any(self.folder.iterdir()):
            raise OSError(116, "Stale file handle")
        (self.folder / "made").touch()
        return super().work()


@dataclass(frozen=True)
class SharingJob(PipelineJob):
    """Shares extractors on the CPU, as if there were so many GPUs."""

    num_devices: int = 1

    @property
    def shares_extractor(self) -> bool:
        return True

    def devices(self) -> tuple[str, ...]:
        return ("cpu",) * self.num_devices


@dataclass(frozen=True)
class FarJob:
    """Shares an extractor that breaks with an error after so many requests, as if it were on a GPU."""

    error: BaseException
    after: int
    shares_extractor: bool = True

    def devices(self) -> tuple[str, ...]:
        return ("cuda:7",)

    def extractor(self, device: str) -> Extractor:
        return BreakingExtractor(self.error, self.after)

    def work(self, extractor: Extractor | None = None) -> Work:
        return LabelWork(Asking(extractor), max_pixels=10**6)


class BreakingExtractor:
    """Gives no features, and no more than that after so many requests."""

    def __init__(self, error: BaseException, after: int) -> None:
        self._error = error
        self._left = after

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        if not self._left:
            raise self._error
        self._left -= 1
        return []


@dataclass(frozen=True)
class Asking:
    """Asks for features, and needs none."""

    extractor: Extractor

    def __call__(self, image: Image) -> MaskSet:
        self.extractor.extract([image[:4, :4]])
        return whole(image)

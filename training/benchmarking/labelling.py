"""How fast photographs are labelled with the defaults of dico: by one worker, and by all that there is room for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import PIL.Image

from dico.config import PipelineConfig
from dico.executors import InlineExecutor, Session
from dico.executors.machine import usable_workers
from dico.executors.pool import PoolExecutor
from dico.image import load_image, resize_image
from dico.inputs import list_images
from dico.job import PipelineJob
from dico.photographs import photograph_paths
from dico.store import ImageEntry
from dico.task import Labelled, Task
from training.benchmarking.clock import peak_gb, timed
from training.benchmarking.figures import GIGABYTES, Figure, of_times
from training.benchmarking.settings import BenchmarkSettings

PART = "labelling"
ROUNDS = 4
"""Photographs that each of several workers labels, on average, while the clock runs."""
RATE = "images/s"


def measure_labelling(settings: BenchmarkSettings) -> list[Figure]:
    """The figures of one worker, and the throughput of several where there is room for them.

    Args:
        settings: Which photographs, and how often.

    Raises:
        FileNotFoundError: when there are no photographs.
        RuntimeError: when one cannot be labelled.
    """
    job = PipelineJob(PipelineConfig())
    with TemporaryDirectory() as folder:
        files = photographs(settings, Path(folder))
        with InlineExecutor().session(job) as session:
            _label(session, files[0])  # compiles
            seconds = [
                timed(lambda file=file: _label(session, file))[1]  # type: ignore[misc]
                for _ in range(settings.passes)
                for file in files
            ]
        figures = [
            of_times(PART, "a photograph, one worker", seconds),
            Figure(PART, "throughput, one worker", len(seconds) / sum(seconds), RATE, runs=len(seconds)),
            Figure(PART, "peak memory, one worker", peak_gb(), GIGABYTES),
        ]
        workers = settings.workers or usable_workers()
        if workers > 1:
            timed_count = max(len(files), ROUNDS * workers)
            with PoolExecutor(workers).session(job) as pool:
                rate = _throughput(pool, files, workers, timed_count)
            figures.append(Figure(PART, f"throughput, {workers} workers", rate, RATE, runs=timed_count))
    return figures


def photographs(settings: BenchmarkSettings, folder: Path) -> Sequence[Path]:
    """The files to label.

    Args:
        settings: Which.
        folder: Where smaller copies of them may be put.

    Raises:
        FileNotFoundError: when there are none.
    """
    if settings.images:
        files = list(list_images(settings.images))[: settings.photographs]
    else:
        files = photograph_paths(settings.photographs)
    return [_smaller(file, settings.photograph_side, folder) for file in files] if settings.photograph_side else files


def _smaller(file: Path, side: int, folder: Path) -> Path:
    image = load_image(file)
    scale = side / max(image.shape[:2])
    path = folder / f"{file.stem}.png"
    PIL.Image.fromarray(resize_image(image, (round(scale * image.shape[0]), round(scale * image.shape[1])))).save(path)
    return path


def _label(session: Session, file: Path) -> None:
    session.submit(0, _task(0, file))
    _collect(session)


def _throughput(session: Session, files: Sequence[Path], workers: int, timed_count: int) -> float:
    """Images a second while all workers are at work: from when they are warm, until there are enough."""
    keys = count()

    def submit() -> None:
        key = next(keys)
        session.submit(key, _task(key, files[key % len(files)]))

    for _ in range(session.window):
        submit()
    warm = 2 * workers
    start = time.perf_counter()
    for done in range(1, warm + timed_count + 1):
        _collect(session)
        submit()
        if done == warm:
            start = time.perf_counter()
    elapsed_s = time.perf_counter() - start
    session.withdraw()
    return timed_count / elapsed_s


def _task(key: int, file: Path) -> Task:
    return Task(ImageEntry(key, file.name, 0), file)


def _collect(session: Session) -> None:
    found = None
    while found is None:
        found = session.collect(60.0)
    if not isinstance(found[1], Labelled):
        raise RuntimeError(f"a photograph could not be labelled: {found[1]}")

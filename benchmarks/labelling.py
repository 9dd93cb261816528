"""Labels for the photographs of the dev sets, by several configurations and the reference at once."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.dev_sets import ANNOTATIONS
from benchmarks.felzenszwalb import felzenszwalb_masks
from dico.config import ExtractorConfig, PipelineConfig
from dico.divide.maskcut import MaskCut
from dico.features.base import Extractor, PatchFeatures
from dico.features.build import build_extractor
from dico.image import Image, load_image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.refine import build_refiner

_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """What is done to each photograph.

    Attributes:
        configs: It is labelled by each of these; those with one extractor share its features.
        reference: Whether the reference segments it, too.
    """

    configs: tuple[PipelineConfig, ...]
    reference: bool = False

    def __call__(self, path: Path) -> list[MaskSet]:
        """The masks of each configuration, then those of the reference."""
        image = load_image(path)
        found = [labeler(image) for labeler in _labelers(self.configs)]
        return [*found, felzenszwalb_masks(image)] if self.reference else found


class RememberingExtractor:
    """An extractor that does not look twice when it is shown the same image (the same array) again."""

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self._seen: tuple[Sequence[Image], int | None, list[PatchFeatures]] = ((), None, [])

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """What the extractor gives."""
        images_before, size_before, features = self._seen
        same = len(images) == len(images_before) and all(a is b for a, b in zip(images, images_before, strict=True))
        if not images_before or not same or size != size_before:
            features = self.extractor.extract(images, size=size)
            self._seen = (list(images), size, features)
        return features


@lru_cache(maxsize=1)
def _labelers(configs: tuple[PipelineConfig, ...]) -> list[PseudoLabeler]:
    extractors: dict[ExtractorConfig, Extractor] = {}
    for config in configs:
        if config.extractor not in extractors:
            extractors[config.extractor] = RememberingExtractor(build_extractor(config.extractor))
    return [
        PseudoLabeler(
            config,
            extractor=extractors[config.extractor],
            divider=MaskCut(config.divide),
            refiner=build_refiner(config.refine),
        )
        for config in configs
    ]


def label_photographs(job: Job, paths: Sequence[Path], workers: int, *, title: str) -> list[list[MaskSet]]:
    """What the job gives for each photograph, in order; one thread a worker.

    Args:
        job: What to do.
        paths: The photographs.
        workers: Processes; 1 for this one.
        title: Of the progress bar.
    """
    progress = {"total": len(paths), "desc": title, "unit": "image", "disable": None}
    if workers == 1:
        with threadpool_limits(1):
            return [job(path) for path in tqdm(paths, **progress)]
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))  # read when a worker imports its libraries
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(tqdm(pool.map(job, paths), **progress))


def measuring_parser(description: str | None, *, sets: Sequence[str], limit: int | None) -> argparse.ArgumentParser:
    """The options of every benchmark that measures labels; use its ``parse_intermixed_args``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sets",
        type=dev_set_names,
        default=tuple(sets),
        metavar="A,B",
        help=f"of {', '.join(ANNOTATIONS)} ({','.join(sets)})",
    )
    most = "all" if limit is None else str(limit)
    parser.add_argument("--limit", type=_count, default=limit, metavar="N", help=f"photographs a set, spaced ({most})")
    parser.add_argument("--workers", type=_count, default=_cores(), metavar="N", help="processes (one a core)")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="for the intervals (1000); 0: none")
    parser.add_argument("--config", metavar="FILE", help="YAML file with what differs from the defaults")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as refine.method=crf")
    return parser


def dev_set_names(text: str) -> tuple[str, ...]:
    """The dev sets in an argument, separated by commas."""
    names = tuple(text.split(","))
    if unknown := set(names) - ANNOTATIONS.keys():
        raise argparse.ArgumentTypeError(f"no set {', '.join(sorted(unknown))}; choose from {', '.join(ANNOTATIONS)}")
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

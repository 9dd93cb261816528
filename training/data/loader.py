"""The loader: batches of an endless stream of samples, read ahead by processes that do not change what is learnt.

Step s takes the positions s B to s B + B - 1 of the stream, where B is the batch of all ranks together, and each rank
takes its own part of them. An image that cannot be used gives way to that of the next position, and so on: a rule that
knows neither processes nor ranks. What is drawn about a sample still belongs to its own position.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from training.data.mapper import Crop, Mapper
from training.data.randomness import Order
from training.records import Source
from training.samples import Batch, collate

_LOG = logging.getLogger(__name__)
_AHEAD = 2  # batches that are read while one is learnt


class DataError(ValueError):
    """Too many images of a source cannot be used; the message lists some."""


@dataclass(frozen=True)
class Skipped:
    """An image that could not be used.

    Attributes:
        key: What names it in its source.
        path: Where it lies.
        reason: Why.
    """

    key: str
    path: Path
    reason: str

    def __str__(self) -> str:
        return self.reason if str(self.path) in self.reason else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Found:
    """What was found for a position.

    Attributes:
        crop: The sample, or None when no image was usable among as many as may be tried.
        skipped: The images that were tried before it.
    """

    crop: Crop | None
    skipped: tuple[Skipped, ...]


class Crops(Dataset[Found]):
    """The samples of a source by their position; it is sent to every process that reads ahead.

    Args:
        source: The images.
        mapper: What makes samples of them.
        seed: Of the order of images.
        tries: At most so many different images are tried for a position.
    """

    def __init__(self, source: Source, mapper: Mapper, *, seed: int, tries: int) -> None:
        self.source = source
        self.mapper = mapper
        self.order = Order(len(source), seed)
        self.tries = min(tries, len(source))

    def __getitem__(self, position: int) -> Found:
        skipped: dict[int, Skipped] = {}
        for following in count(position):
            index = self.order[following]
            if index in skipped:
                continue
            record = self.source[index]
            try:
                return Found(self.mapper.read(record, position), tuple(skipped.values()))
            except (ValueError, OSError) as error:
                skipped[index] = Skipped(record.key, record.path, str(error) or type(error).__name__)
            if len(skipped) == self.tries:
                break
        return Found(None, tuple(skipped.values()))


class TrainLoader:
    """The batches of one rank.

    Processes that read ahead are forked from a server that was started for it, or started anew where the system has no
    such server: a fork of this process would copy locks that its threads hold (CUDA, gloo, Ray), and may hang. Scripts
    therefore need ``if __name__ == "__main__":``. They send masks as run-length codes through pipes, so neither the
    size of the shared memory nor the number of open files limits them.

    Args:
        source: The images.
        mapper: What makes samples of them.
        batch_size: Images a step of this rank.
        rank: Which rank this is, from 0.
        world_size: How many ranks there are; all have the same batch size.
        workers: Processes that read ahead; 0 reads when a batch is asked for.
        max_skipped: Reading ends with an error when more different images than this could not be used.
        seed: Of the order of images.

    Attributes:
        skipped: What this rank could not use, each image once, in the order found.

    Raises:
        ValueError: for numbers out of range.
        DataError: when the source has no images.
    """

    def __init__(
        self,
        source: Source,
        mapper: Mapper,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        max_skipped: int = 100,
        seed: int = 0,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("workers", workers, 0),
            ("max_skipped", max_skipped, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to world_size - 1 = {world_size - 1}, got {rank}")
        if not len(source):
            raise DataError(f"{source.name} has no images to learn from")
        self.source = source
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.workers = workers
        self.max_skipped = max_skipped
        self.skipped: list[Skipped] = []
        self._keys_skipped: set[str] = set()
        self._crops = Crops(source, mapper, seed=seed, tries=max_skipped + 1)

    def batches(self, start_step: int = 0) -> Generator[Batch]:
        """Yields the batches of steps ``start_step``, ``start_step + 1``, ... without end.

        Closing the generator, or an error in it, ends the processes that read ahead; ``contextlib.closing`` does so
        also when the loop over it raises.

        Args:
            start_step: The first step; as if all steps before it had been asked for.

        Raises:
            DataError: when more than ``max_skipped`` different images could not be used, or no image can.
        """
        found = iter(self._reader(start_step))
        try:
            while True:
                samples = [self._usable(next(found)).sample() for _ in range(self.batch_size)]
                yield collate(samples, side=self._crops.mapper.config.image_size)
        finally:
            del found  # which ends its processes

    def _reader(self, start_step: int) -> DataLoader[Found]:
        several = self.workers > 0
        return DataLoader(
            self._crops,
            batch_size=None,  # a batch is put together here, so that several processes share in it
            sampler=Positions(start_step, self.batch_size, self.rank, self.world_size),
            num_workers=self.workers,
            collate_fn=_as_it_is,
            prefetch_factor=max(2, -(-_AHEAD * self.batch_size // self.workers)) if several else None,
            multiprocessing_context=_context() if several else None,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else it draws from the process's own, which the model draws from, too
        )

    def _usable(self, found: Found) -> Crop:
        for skipped in found.skipped:
            if skipped.key not in self._keys_skipped:
                self._keys_skipped.add(skipped.key)
                self.skipped.append(skipped)
                _LOG.warning("an image is passed over: %s", skipped)
        if found.crop is not None and len(self.skipped) <= self.max_skipped:
            return found.crop
        some = "".join(f"\n  {skipped}" for skipped in self.skipped[:5])
        if len(self.skipped) >= len(self.source):
            raise DataError(f"none of the {len(self.source)} images of {self.source.name} can be used:{some}")
        raise DataError(
            f"{len(self.skipped)} images of {self.source.name} cannot be used, more than data.max_skipped="
            f"{self.max_skipped}; mend or remove them, or raise it:{some}"
        )


@dataclass(frozen=True)
class Positions:
    """The positions of one rank's samples, without end: iterating begins at ``start_step``."""

    start_step: int
    batch_size: int
    rank: int
    world_size: int

    def __iter__(self) -> Iterator[int]:
        for step in count(self.start_step):
            first = (step * self.world_size + self.rank) * self.batch_size
            yield from range(first, first + self.batch_size)


def _as_it_is(found: Any) -> Any:
    return found


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that torch is imported once, and not by each process
    return context


def _begin_worker(_: int) -> None:
    # Ctrl-C reaches every process of a terminal; the trainer decides what becomes of it, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # PyTorch looks whether the server lives, and the server lives as long as its workers do.
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)

"""Writing a store, or some of its shards: rows come in any order, shards are completed as soon as they are full."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType

from dico.masks import MaskSet
from dico.store.creation import MERGING, refuse_when_replaced
from dico.store.errors import StoreError
from dico.store.failures import FailureLog
from dico.store.guard import guard
from dico.store.leftovers import remove_leftovers
from dico.store.lock import ShardLock
from dico.store.manifest import Manifest
from dico.store.open_shard import OpenShard
from dico.store.rows import Failure, encode_failed_row, encode_row, row_key
from dico.store.shards import ShardFiles


class StoreWriter:
    """Writes the rows of a store, each image's once; to be used in a ``with`` block, which holds the shards' lock.

    Entering takes up what an earlier writer left, however it ended: rows in journals count as written. Several writers
    may write one store at once, also from several machines, as long as their shards are not the same.

    Args:
        folder: The store's folder.
        manifest: The store's manifest.
        shards: The shards to write, in steps of 1; None for all. The images of the others are none of this writer's.
        retry_failed: Whether images that failed before are to be tried again: they are pending, too. A shard gives up
            these rows when :meth:`pending` comes to it; what it did not come to stays as it was.

    Attributes:
        shards: The shards that are written.
        failed: How many images of these shards have failed, in this run or before.
        damaged_shards: Those that were complete and whose rows were found missing or cut short; their images are
            pending again.

    Raises:
        ValueError: when the store has no such shards.
        StoreError: on entering, when another process writes one of them.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, shards: range | None = None, *, retry_failed: bool = False
    ) -> None:
        everything = range(manifest.shards)
        self.shards = everything if shards is None else shards
        if shards is not None and (not shards or shards.step != 1 or shards[0] < 0 or shards.stop > manifest.shards):
            raise ValueError(
                f"shards must be a range A:B with 0 <= A < B <= {manifest.shards}, the number of shards,"
                f" got {shards.start}:{shards.stop}"
            )
        self.folder = folder
        self.manifest = manifest
        self.failed = 0
        self.damaged_shards: list[int] = []
        self._retry_failed = retry_failed
        self._lock = ShardLock(folder, self.shards)
        self._failures = FailureLog(folder)
        self._failed_of_done: dict[int, int] = {}
        self._open_shards: dict[int, OpenShard] = {}
        # Shards with failures to try again, and the index from which on these still have their rows.
        self._retry_from: dict[int, int] = {}

    def __enter__(self) -> StoreWriter:
        self._lock.__enter__()
        try:
            self._recover()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Not after an error, as what we know may be wrong; the next writer does the same when it enters.
            if self._retry_failed and kind is None:
                self._failures.keep(self._standing)
        finally:
            self._close()

    def is_done(self, index: int) -> bool:
        """Whether the image is one of this writer's shards and has its row, of masks or of a failure that stands."""
        shard = index // self.manifest.shard_size
        self._give_up_failures(shard, index + 1)
        return shard in self._failed_of_done or (shard in self._open_shards and self._open_shards[shard].has(index))

    def pending(self, stop: int | None = None) -> Iterator[int]:
        """Yields the indices of these shards that have no row yet, in order, looking at each when its turn comes.

        Args:
            stop: Only indices below this one, and of the others no row of a failure is given up. None for all.
        """
        for indices in self._indices_by_shard(stop):
            shard = indices.start // self.manifest.shard_size
            self._give_up_failures(shard, indices.stop)
            if shard not in self._failed_of_done:
                yield from (index for index in indices if not self.is_done(index))

    def count_pending(self, stop: int | None = None) -> int:
        """How many indices :meth:`pending` would yield; no row is given up by counting."""
        return sum(map(self._count_pending, self._indices_by_shard(stop)))

    def heartbeat(self) -> None:
        """Tells writers on other machines that this one lives; to be called every few minutes at least.

        Raises:
            StoreError: when it was taken for dead, and others may write its shards.
        """
        self._lock.touch()

    def write(self, index: int, masks: MaskSet) -> bool:
        """Adds the masks of an image; returns False, and changes nothing, when it has a row already."""
        return self.add(index, encode_row(self.manifest.entries[index], masks))

    def fail(self, failure: Failure) -> bool:
        """Adds an image that failed; returns False, and changes nothing, when it has a row already."""
        self._own_shard(failure.index)
        if self.is_done(failure.index):
            return False
        # The story first: killed between the two, the image is tried again and its story dropped.
        self._failures.append(failure)
        return self._add(failure.index, encode_failed_row(failure), failed=True)

    def add(self, index: int, row: bytes) -> bool:
        """Adds the row of an image that was labelled, as :func:`dico.store.encode_row` made it.

        Args:
            index: The image's index.
            row: Its row.

        Returns:
            Whether it was added: the first row of an image stays.

        Raises:
            IndexError: when the store has no such image, or it is of none of this writer's shards.
        """
        return self._add(index, row, failed=False)

    def _add(self, index: int, row: bytes, *, failed: bool) -> bool:
        shard = self._own_shard(index)
        if self.is_done(index):
            return False
        self.heartbeat()  # a process that was taken for dead must not write beside its successor
        if shard not in self._open_shards:
            self._open_shards[shard] = self._open(shard)
        self._open_shards[shard].append(index, row, failed=failed)
        self.failed += failed
        self._complete_if_full(shard)
        return True

    def _own_shard(self, index: int) -> int:
        if not 0 <= index < len(self.manifest.entries):
            raise IndexError(f"index must be within 0..{len(self.manifest.entries) - 1}, got {index}")
        shard = index // self.manifest.shard_size
        if shard not in self.shards:
            raise IndexError(
                f"index must be of an image of shards {self.shards.start}:{self.shards.stop}, which this writer writes,"
                f" got {index} of shard {shard}"
            )
        return shard

    def _open(self, shard: int) -> OpenShard:
        return OpenShard(ShardFiles.of(self.folder, shard), self.manifest.shard_indices(shard))

    def _indices_by_shard(self, stop: int | None) -> Iterator[range]:
        """Yields the indices of each shard, as far as they are below ``stop``."""
        for indices in map(self.manifest.shard_indices, self.shards):
            if stop is not None and stop <= indices.start:
                return
            yield indices if stop is None else range(indices.start, min(stop, indices.stop))

    def _count_pending(self, indices: range) -> int:
        """How many of the first images of a shard are pending."""
        shard = indices.start // self.manifest.shard_size
        untouched = self._retry_from.get(shard) == indices.start and indices == self.manifest.shard_indices(shard)
        if untouched and shard in self._failed_of_done:
            return self._failed_of_done[shard]  # as a rule; reading the shard takes a while
        to_retry = len(self._to_retry(shard, indices.stop))
        if shard in self._failed_of_done:
            return to_retry
        opened = self._open_shards.get(shard)
        return to_retry + (len(indices) if opened is None else sum(not opened.has(index) for index in indices))

    def _to_retry(self, shard: int, stop: int) -> set[int]:
        """The images of a shard, below an index, that failed before and were not given up yet."""
        if stop <= (start := self._retry_from.get(shard, stop)):
            return set()
        return self._failed_indices(shard).intersection(range(start, stop))

    def _give_up_failures(self, shard: int, stop: int) -> None:
        """Drops the rows of the images that are to be tried again, below an index, from a shard."""
        given_up = self._to_retry(shard, stop)
        if shard in self._retry_from:
            self._retry_from[shard] = max(stop, self._retry_from[shard])
        if not given_up:
            return
        self.failed -= len(given_up)
        self._failed_of_done.pop(shard, None)
        if shard in self._open_shards:
            self._open_shards[shard].close()
        files, indices = ShardFiles.of(self.folder, shard), self.manifest.shard_indices(shard)
        self._open_shards[shard] = OpenShard.without(given_up, files, indices)

    def _complete_if_full(self, shard: int) -> None:
        opened = self._open_shards[shard]
        if opened.is_full:
            opened.complete()
            del self._open_shards[shard]
            self._failed_of_done[shard] = opened.failed

    def _recover(self) -> None:
        (self.folder / "shards").mkdir(exist_ok=True)
        with guard(self.folder):
            refuse_when_replaced(self.folder, self.manifest)
            if (self.folder / MERGING).exists():
                raise StoreError(
                    f"{self.folder} is not whole, as the merge that wrote it was interrupted; merge again, or remove"
                    f" {self.folder / MERGING} to label what is missing"
                )
        remove_leftovers(self.folder, self.shards)
        for shard in self.shards:
            self._recover_shard(shard)
        self._failures.keep(self._standing)

    def _recover_shard(self, shard: int) -> None:
        files = ShardFiles.of(self.folder, shard)
        if meta := files.done_meta():
            self._failed_of_done[shard] = failed = meta.failed
            files.journal.unlink(missing_ok=True)
        else:
            if files.meta.exists():
                self.damaged_shards.append(shard)
            if not files.journal.exists():
                return
            self._open_shards[shard] = opened = self._open(shard)
            failed = opened.failed
            self._complete_if_full(shard)
        self.failed += failed
        if self._retry_failed and failed:
            self._retry_from[shard] = self.manifest.shard_indices(shard).start

    def _standing(self, failures: list[Failure]) -> list[Failure]:
        """The failures without those of these shards whose image has no failed row (any more)."""
        standing = []
        for shard, told in groupby(failures, lambda failure: failure.index // self.manifest.shard_size):
            of_shard = list(told)
            # As a rule a complete shard has as many failures as are told of it; reading it takes a while.
            if shard in self.shards and len(of_shard) != self._failed_of_done.get(shard):
                failed = self._failed_indices(shard)
                of_shard = [failure for failure in of_shard if failure.index in failed]
            standing += of_shard
        return standing

    def _failed_indices(self, shard: int) -> set[int]:
        """The images of a shard that have the row of a failure."""
        if shard in self._open_shards:
            return self._open_shards[shard].failed_indices()
        if not self._failed_of_done.get(shard):
            return set()
        rows = map(row_key, ShardFiles.of(self.folder, shard).read_rows())
        return {index for index, failed in rows if failed}

    def _close(self) -> None:
        try:
            for opened in self._open_shards.values():
                opened.close()
        finally:
            self._lock.__exit__(None, None, None)

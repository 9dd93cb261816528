"""The one writer of a store: rows come in any order, shards are completed as soon as they are full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from dico.masks import MaskSet
from dico.store.errors import StoreError
from dico.store.failures import FailureLog
from dico.store.journal import Journal, read_journal
from dico.store.lock import StoreLock
from dico.store.manifest import Manifest
from dico.store.rows import Failure, encode_failed_row, encode_row, row_key
from dico.store.shards import ShardFiles

MANIFEST = "manifest.jsonl"
FAILURES = "failures.jsonl"
LOCK = "lock"


class StoreWriter:
    """Writes the rows of a store, each image's once; to be used in a ``with`` block, which holds the store's lock.

    Entering takes up what an earlier writer left, however it ended: rows in journals count as written.

    Args:
        folder: The store's folder.
        manifest: The store's manifest.

    Attributes:
        failed: How many images of the store failed, in this run or before.
        damaged_shards: Complete shards whose rows were found missing or cut short; their images are pending again.

    Raises:
        StoreError: on entering, when another process writes the store.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.failed = 0
        self.damaged_shards: list[int] = []
        self._lock = StoreLock(folder / LOCK)
        self._done_shards: set[int] = set()
        self._open_shards: dict[int, _OpenShard] = {}

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
        self._close()

    def is_done(self, index: int) -> bool:
        """Whether the image has its row, of masks or of failure."""
        shard = index // self.manifest.shard_size
        return shard in self._done_shards or (
            shard in self._open_shards and index in self._open_shards[shard].failed_by_index
        )

    def pending(self) -> Iterator[int]:
        """Yields the indices that have no row yet, in order."""
        for shard in range(self.manifest.shards):
            if shard not in self._done_shards:
                yield from (index for index in self.manifest.shard_indices(shard) if not self.is_done(index))

    def write(self, index: int, masks: MaskSet) -> bool:
        """Adds the masks of an image; returns False, and changes nothing, when it has a row already."""
        return self.add(index, encode_row(self.manifest.entries[index], masks))

    def fail(self, failure: Failure) -> bool:
        """Adds an image that failed; returns False, and changes nothing, when it has a row already."""
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
            IndexError: when the store has no such image.
        """
        return self._add(index, row, failed=False)

    def _add(self, index: int, row: bytes, *, failed: bool) -> bool:
        if not 0 <= index < len(self.manifest.entries):
            raise IndexError(f"index must be within 0..{len(self.manifest.entries) - 1}, got {index}")
        if self.is_done(index):
            return False
        shard = index // self.manifest.shard_size
        if shard not in self._open_shards:
            self._open_shards[shard] = _OpenShard(ShardFiles.of(self.folder, shard))
        self._open_shards[shard].append(index, row, failed=failed)
        self.failed += failed
        self._complete_if_full(shard)
        return True

    def _complete_if_full(self, shard: int) -> None:
        opened = self._open_shards[shard]
        if len(opened.failed_by_index) == len(self.manifest.shard_indices(shard)):
            opened.complete()
            del self._open_shards[shard]
            self._done_shards.add(shard)

    def _recover(self) -> None:
        (self.folder / "shards").mkdir(exist_ok=True)
        for pattern in (f".{MANIFEST}.*.tmp", f".{FAILURES}.*.tmp", "shards/.*.tmp"):
            for leftover in self.folder.glob(pattern):
                leftover.unlink()
        for shard in range(self.manifest.shards):
            files = ShardFiles.of(self.folder, shard)
            if meta := files.done_meta():
                self._done_shards.add(shard)
                self.failed += meta.failed
                files.journal.unlink(missing_ok=True)
                continue
            if files.meta.exists():
                self.damaged_shards.append(shard)
            if files.journal.exists():
                opened = _OpenShard(files)
                self._open_shards[shard] = opened
                if not opened.failed_by_index.keys() <= set(self.manifest.shard_indices(shard)):
                    raise StoreError(f"{files.journal} holds rows of other images; remove it to label them again")
                self.failed += sum(opened.failed_by_index.values())
        self._failures = FailureLog(self.folder / FAILURES, self.is_done)
        for shard in list(self._open_shards):
            self._complete_if_full(shard)

    def _close(self) -> None:
        try:
            for opened in self._open_shards.values():
                opened.journal.close()
        finally:
            self._lock.__exit__(None, None, None)


class _OpenShard:
    """A shard that is being filled."""

    def __init__(self, files: ShardFiles) -> None:
        self.files = files
        # A meta that does not fit its rows is of a damaged shard, which is redone from here.
        files.meta.unlink(missing_ok=True)
        self.failed_by_index = dict(map(row_key, read_journal(files.journal)))
        self.journal = Journal(files.journal)

    def append(self, index: int, row: bytes, *, failed: bool) -> None:
        self.journal.append(row)
        self.failed_by_index[index] = failed

    def complete(self) -> None:
        self.journal.close()
        line_by_index = {row_key(line)[0]: line for line in read_journal(self.files.journal)}
        lines = [line_by_index[index] for index in sorted(line_by_index)]
        self.files.write(lines, sum(self.failed_by_index.values()))
        self.files.journal.unlink()

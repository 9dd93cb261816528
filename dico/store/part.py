"""A store among those that are merged: its rows, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from dico.store.mask_store import MaskStore
from dico.store.rows import Failure, row_key
from dico.store.shards import ShardFiles


@dataclass(frozen=True, slots=True)
class PartRow:
    """A row of a part.

    Attributes:
        index: The image's index in the part.
        failed: Whether the image failed.
        line: The row.
    """

    index: int
    failed: bool
    line: bytes


class Part:
    """One store of a merge.

    Args:
        store: The store; it is only read.
    """

    def __init__(self, store: MaskStore) -> None:
        self.store = store
        self._shard = -1
        self._stop = 0
        self._rows: Iterator[PartRow] = iter(())
        self._ahead: PartRow | None = None

    @cached_property
    def failures(self) -> dict[int, Failure]:
        """Why images failed, by index."""
        return {failure.index: failure for failure in self.store.failures()}

    def rows(self, indices: range) -> Iterator[PartRow]:
        """Yields the rows of those images that have one, in order.

        One range is to follow the other: nothing is kept, and a shard is read again for a range that does not.
        """
        if indices.start < self._stop:
            self._shard = -1
        self._stop = indices.stop
        for shard in self._shards(indices):
            if shard != self._shard:
                self._shard, self._ahead = shard, None
                self._rows = (PartRow(*row_key(line), line) for line in self.store.lines(shard))
            while row := self._ahead or next(self._rows, None):
                self._ahead = None
                if row.index >= indices.stop:
                    self._ahead = row
                    break
                if row.index >= indices.start:
                    yield row

    def rank(self, index: int) -> int:
        """0 for an image that has masks, 1 for one that failed, 2 for one that has no row."""
        return next((int(row.failed) for row in self.rows(range(index, index + 1))), 2)

    def has_rows(self, indices: range) -> bool:
        """Whether any of the shards of these images has a row."""
        files = [ShardFiles.of(self.store.path, shard) for shard in self._shards(indices)]
        return any(of.meta.exists() or of.journal.exists() for of in files)

    def _shards(self, indices: range) -> range:
        size = self.store.manifest.shard_size
        return range(indices.start // size, -(-indices.stop // size)) if indices else range(0)

"""A shard that is being filled: its rows go to a journal, and from there, sorted, to where they stay."""

from __future__ import annotations

from collections.abc import Container

from dico.store.errors import StoreError
from dico.store.journal import Journal, write_journal
from dico.store.rows import row_key
from dico.store.shards import ShardFiles

_NO_ROW, _DONE, _FAILED = 0, 1, 2


class OpenShard:
    """Takes up what the journal of a shard holds.

    Args:
        files: The shard's files. A meta that is there is removed: it is of rows that are damaged, or given up.
        indices: The images of the shard.

    Attributes:
        rows: How many images have a row.
        failed: How many of those failed.

    Raises:
        StoreError: when the journal holds rows of other images.
    """

    def __init__(self, files: ShardFiles, indices: range) -> None:
        self.files = files
        self.indices = indices
        self.rows = self.failed = 0
        self._state = bytearray(len(indices))
        self._journal: Journal | None = None
        for index, line in files.read_started().items():
            if index not in indices:
                raise StoreError(f"{files.journal} holds rows of other images; remove it to label them again")
            self._note(index, failed=row_key(line)[1])
        files.meta.unlink(missing_ok=True)

    @classmethod
    def without(cls, given_up: Container[int], files: ShardFiles, indices: range) -> OpenShard:
        """A shard, complete or not, that gives up the rows of some images and keeps those of the others.

        Killed at any point, the shard has the others' rows: the journal is whole before the meta goes, and while there
        is a meta, the journal is not asked.
        """
        write_journal(files.journal, [line for line in files.read_rows() if row_key(line)[0] not in given_up])
        return cls(files, indices)

    @property
    def is_full(self) -> bool:
        """Whether every image has its row."""
        return self.rows == len(self.indices)

    def has(self, index: int) -> bool:
        """Whether an image of the shard has its row."""
        return self._state[index - self.indices.start] != _NO_ROW

    def failed_indices(self) -> set[int]:
        """The images that failed."""
        return {index for index in self.indices if self._state[index - self.indices.start] == _FAILED}

    def append(self, index: int, row: bytes, *, failed: bool) -> None:
        """Adds the row of an image that has none."""
        if self._journal is None:
            self._journal = Journal(self.files.journal)
        self._journal.append(row)
        self._note(index, failed=failed)

    def complete(self) -> None:
        """Makes the full shard final."""
        self.close()
        started = self.files.read_started()
        self.files.write([started[index] for index in sorted(started)], self.failed)
        self.files.journal.unlink()

    def close(self) -> None:
        """Forces what was added to the disk."""
        if self._journal is not None:
            self._journal.close()

    def _note(self, index: int, *, failed: bool) -> None:
        self._state[index - self.indices.start] = _FAILED if failed else _DONE
        self.rows += 1
        self.failed += failed

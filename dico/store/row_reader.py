"""Rows of a store in any order: which images have masks, and the row of one of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dico.store.errors import StoreError
from dico.store.mask_store import MaskStore
from dico.store.rows import LabelRow, decode_row, row_key
from dico.store.shards import ShardFiles

CACHE_BYTES = 256 << 20
"""Rows that are kept by default, uncompressed: all of a few thousand images, or ten shards of a large store."""


class RowReader:
    """The rows of a store by the index of their image.

    A shard is one compressed stream, so the row of one image costs reading the shard, some 20 ms of a full one. Shards
    read last are kept. Pickled, a reader takes the manifest and nothing that it read.

    Args:
        store: The store, complete or not.
        cache_bytes: So many bytes of rows are kept, the newest shard whatever it takes.
    """

    def __init__(self, store: MaskStore, *, cache_bytes: int = CACHE_BYTES) -> None:
        self.store = store
        self.cache_bytes = cache_bytes
        self._lines_by_shard: OrderedDict[int, dict[int, bytes]] = OrderedDict()
        self._bytes = 0

    def row(self, index: int) -> LabelRow:
        """The row of an image.

        Raises:
            IndexError: when the store has no such image.
            KeyError: when the image was not tried yet.
            StoreError: when its shard or its row is damaged.
        """
        if not 0 <= index < len(self.store.manifest.entries):
            raise IndexError(f"index must be below {len(self.store.manifest.entries)}, got {index}")
        lines = self._shard(index // self.store.manifest.shard_size)
        if index not in lines:
            raise KeyError(f"image {index} of {self.store.path} has no row; go on with dico label to make it")
        return decode_row(lines[index])

    def labelled(self) -> NDArray[np.int64]:
        """int64 (N,): the indices of the images that have masks, or none to be found, rising; not those that failed.

        Complete shards of which no image failed are not read.

        Raises:
            StoreError: when a shard that is read is damaged.
        """
        found = []
        for shard in range(self.store.manifest.shards):
            files = ShardFiles.of(self.store.path, shard)
            meta = files.done_meta()
            indices = self.store.manifest.shard_indices(shard)
            if meta is not None and meta.failed == 0 and meta.rows == len(indices):
                found.append(np.arange(indices.start, indices.stop, dtype=np.int64))
                continue
            keys = [row_key(line) for line in self.store.lines(shard)]
            found.append(np.array([index for index, failed in keys if not failed], dtype=np.int64))
        return np.concatenate([np.zeros(0, np.int64), *found])

    def _shard(self, shard: int) -> dict[int, bytes]:
        if shard in self._lines_by_shard:
            self._lines_by_shard.move_to_end(shard)
            return self._lines_by_shard[shard]
        try:
            lines = {row_key(line)[0]: line for line in self.store.lines(shard)}
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"shard {shard} of {self.store.path} is damaged ({error!r})") from error
        self._lines_by_shard[shard] = lines
        self._bytes += _size(lines)
        while self._bytes > self.cache_bytes and len(self._lines_by_shard) > 1:
            _, oldest = self._lines_by_shard.popitem(last=False)
            self._bytes -= _size(oldest)
        return lines

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "cache_bytes": self.cache_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["store"], cache_bytes=state["cache_bytes"])  # type: ignore[misc]


def _size(lines: dict[int, bytes]) -> int:
    return sum(map(len, lines.values()))

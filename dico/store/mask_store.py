"""MaskStore: reading a store, complete or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dico.store.creation import settle_manifest
from dico.store.entries import ImageEntry
from dico.store.failures import FAILURES, read_failures
from dico.store.manifest import MANIFEST, Manifest
from dico.store.rows import Failure, LabelRow, decode_row, row_key
from dico.store.shards import ShardFiles
from dico.store.writer import StoreWriter

if TYPE_CHECKING:
    from dico.store.verify import VerifyReport


@dataclass(frozen=True)
class StoreStatus:
    """How far a store is.

    Attributes:
        images: Images in the manifest.
        done: Images that have masks.
        failed: Images that failed.
        shards_done: Shards that are complete.
        shards: Shards there will be.
        bytes: Size of the complete shards, and of the rows in journals.
    """

    images: int
    done: int
    failed: int
    shards_done: int
    shards: int
    bytes: int

    @property
    def pending(self) -> int:
        """Images that were not tried yet."""
        return self.images - self.done - self.failed


class MaskStore:
    """The masks of many images, in a folder. Iterating gives a :class:`LabelRow` an image, in order of their index.

    Make or resume one with :meth:`create`, read one with :meth:`open`. An unfinished store can be read, too: it gives
    the rows it has. One shard at a time is held in memory.

    Attributes:
        path: The folder.
        manifest: What the store is about.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(cls, path: str | Path, manifest: Manifest, *, retry_failed: bool = False) -> MaskStore:
        """The store in a folder: made when there is none, resumed when it is about the same job.

        A store that has no row yet is made anew for another job. Several processes may call this at the same time.

        Args:
            path: A folder that is missing, empty or a store.
            manifest: What the store is to be about.
            retry_failed: Whether images that failed may have another size than the store's manifest says, as they were
                mended to be tried again; the manifest then gets the new sizes.

        Returns:
            The store; no row of it was changed.

        Raises:
            StoreError: when the folder is a store of another job (the message says what differs) that has rows or is
                being written, or holds other files.
        """
        folder = Path(path)
        return cls(folder, settle_manifest(folder, manifest, retry_failed=retry_failed))

    @classmethod
    def open(cls, path: str | Path) -> MaskStore:
        """The store in a folder.

        Raises:
            FileNotFoundError: when the folder is not a store.
            StoreError: when its manifest is damaged or of another version.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(f"{folder} is not a store (it has no {MANIFEST}); make one with dico label")
        return cls(folder, Manifest.read(folder / MANIFEST))

    def __repr__(self) -> str:
        return f"MaskStore({str(self.path)!r}, {len(self.manifest.entries)} images)"

    def __iter__(self) -> Iterator[LabelRow]:
        for shard in range(self.manifest.shards):
            for line in self.lines(shard):
                yield decode_row(line)

    def lines(self, shard: int) -> Iterator[bytes]:
        """The rows of one shard as bytes, in order of their index.

        Raises:
            StoreError: when the shard is damaged.
        """
        return ShardFiles.of(self.path, shard).read_rows()

    def image_path(self, row: LabelRow | ImageEntry | str) -> Path:
        """Where the image of a row, of an entry of the manifest, or of a path relative to its root lies."""
        return Path(self.manifest.root, row if isinstance(row, str) else row.path)

    def failures(self) -> list[Failure]:
        """Why images failed, in order of their index."""
        return read_failures(self.failures_path)

    def status(self) -> StoreStatus:
        """How far the store is; reads no complete shard."""
        rows = failed = shards_done = size = 0
        for shard in range(self.manifest.shards):
            files = ShardFiles.of(self.path, shard)
            meta = files.done_meta()
            started = {} if meta else files.read_started()
            # A run may have completed the shard, and dropped the journal, between the two.
            if meta := meta or (None if started else files.done_meta()):
                rows, failed = rows + meta.rows, failed + meta.failed
                shards_done, size = shards_done + 1, size + meta.bytes
            else:
                rows, failed = rows + len(started), failed + sum(row_key(line)[1] for line in started.values())
                size += sum(map(len, started.values()))
        return StoreStatus(len(self.manifest.entries), rows - failed, failed, shards_done, self.manifest.shards, size)

    @property
    def failures_path(self) -> Path:
        """The file that says why images failed; it is there when one did."""
        return self.path / FAILURES

    def writer(self, shards: range | None = None, *, retry_failed: bool = False) -> StoreWriter:
        """A writer of the store, or of some of its shards, to be used in a ``with`` block.

        Args:
            shards: Only these; other writers, also on other machines, may write others at the same time. None for all.
            retry_failed: Whether images that failed are to be tried again.

        Raises:
            ValueError: when the store has no such shards.
        """
        return StoreWriter(self.path, self.manifest, shards, retry_failed=retry_failed)

    def verify(self) -> VerifyReport:
        """Reads everything again and checks it; see :func:`dico.store.verify.verify_store`."""
        from dico.store.verify import verify_store  # compiles the run-length reader, which only this needs

        return verify_store(self)

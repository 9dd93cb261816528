"""MaskStore: reading a store, complete or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dico.store.entries import ImageEntry
from dico.store.errors import StoreError
from dico.store.failures import read_failures
from dico.store.journal import read_journal
from dico.store.manifest import Manifest
from dico.store.rows import Failure, LabelRow, decode_row, row_key
from dico.store.shards import ShardFiles
from dico.store.writer import FAILURES, MANIFEST, StoreWriter

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
        bytes: Size of the complete shards.
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
    def create(cls, path: str | Path, manifest: Manifest) -> MaskStore:
        """The store in a folder: made when there is none, resumed when it is about the same job.

        Args:
            path: A folder that is missing, empty or a store.
            manifest: What the store is to be about.

        Returns:
            The store; nothing in it was changed.

        Raises:
            StoreError: when the folder is a store of another job (the message says what differs), or holds other files.
        """
        folder = Path(path)
        if (folder / MANIFEST).exists():
            store = cls.open(folder)
            if differences := store.manifest.differences(manifest):
                raise StoreError(
                    f"{folder} belongs to another run and was left as it is; choose another output, or run with what"
                    " the store has:\n  " + "\n  ".join(differences)
                )
            return store
        # A file whose name begins with a dot may be what a run that was killed left of its manifest.
        if folder.exists() and not (folder.is_dir() and all(child.name.startswith(".") for child in folder.iterdir())):
            raise StoreError(f"{folder} exists and is not a store; OUTPUT must be a new or empty folder, or a store")
        manifest.write(folder / MANIFEST)
        return cls(folder, manifest)

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
        """Yields the rows of one shard as bytes, in order of their index.

        Raises:
            StoreError: when the shard is damaged.
        """
        files = ShardFiles.of(self.path, shard)
        # The journal first: a run that completes the shard meanwhile writes the meta before it drops the journal.
        started = {row_key(line)[0]: line for line in reversed(list(read_journal(files.journal)))}
        meta = files.read_meta()
        if meta is None:
            yield from (started[index] for index in sorted(started))
            return
        count = 0
        for line in files.read_lines():
            count += 1
            yield line
        if count != meta.rows:
            raise StoreError(f"{files.rows} must hold {meta.rows} rows, got {count}; label again to redo it")

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
            if meta := files.done_meta():
                rows, failed = rows + meta.rows, failed + meta.failed
                shards_done, size = shards_done + 1, size + meta.bytes
            else:
                started = dict(map(row_key, read_journal(files.journal)))
                rows, failed = rows + len(started), failed + sum(started.values())
        return StoreStatus(len(self.manifest.entries), rows - failed, failed, shards_done, self.manifest.shards, size)

    @property
    def failures_path(self) -> Path:
        """The file that says why images failed; it is there when one did."""
        return self.path / FAILURES

    def writer(self) -> StoreWriter:
        """The one writer of the store, to be used in a ``with`` block."""
        return StoreWriter(self.path, self.manifest)

    def verify(self) -> VerifyReport:
        """Reads everything again and checks it; see :func:`dico.store.verify.verify_store`."""
        from dico.store.verify import verify_store  # compiles the run-length reader, which only this needs

        return verify_store(self)

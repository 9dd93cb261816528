"""Shards: complete runs of rows, compressed, each with a small file that says how many, how long and what digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import zstandard

from dico.atomic import atomic_file
from dico.store.errors import StoreError
from dico.store.journal import read_journal
from dico.store.rows import row_key

COMPRESSION_LEVEL = 10  # fixed, as it decides the bytes


@dataclass(frozen=True)
class ShardMeta:
    """What a complete shard holds.

    Attributes:
        rows: Number of rows.
        failed: How many of them are of images that failed.
        bytes: Size of the compressed file.
        sha256: Digest of the compressed file, hexadecimal.
    """

    rows: int
    failed: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardFiles:
    """Where the files of one shard lie.

    Attributes:
        rows: The compressed rows.
        meta: What says that they are complete.
        journal: The rows of a shard that is not.
    """

    rows: Path
    meta: Path
    journal: Path

    @classmethod
    def of(cls, store: Path, shard: int) -> ShardFiles:
        """The files of a shard of the store in a folder."""
        stem = store / "shards" / f"{shard:06d}"
        return cls(*(stem.with_name(stem.name + end) for end in (".jsonl.zst", ".meta.json", ".journal")))

    def read_meta(self) -> ShardMeta | None:
        """What a complete shard says of itself, or None when it is not complete.

        Raises:
            StoreError: when the file is damaged.
        """
        try:
            return ShardMeta(**json.loads(self.meta.read_bytes()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self.meta} is damaged ({error})") from error

    def done_meta(self) -> ShardMeta | None:
        """The meta of a shard that is done: the meta is there and the rows have the size it says; None otherwise."""
        try:
            meta = self.read_meta()
            return meta if meta is not None and self.rows.stat().st_size == meta.bytes else None
        except (StoreError, FileNotFoundError):
            return None

    def write(self, lines: Sequence[bytes], failed: int) -> ShardMeta:
        """Makes the shard complete: the rows, then the meta, each of them whole or not at all.

        Args:
            lines: The rows, in order of their index, each with its line end.
            failed: How many of them are of images that failed.

        Returns:
            What was written as meta.
        """
        size, digest = 0, hashlib.sha256()
        with atomic_file(self.rows) as temporary, open(temporary, "wb") as file:
            for chunk in _compressed(lines):
                size += file.write(chunk)
                digest.update(chunk)
        meta = ShardMeta(len(lines), failed, size, digest.hexdigest())
        self._write_meta(meta)
        return meta

    def copy_from(self, other: ShardFiles, meta: ShardMeta) -> None:
        """Makes the shard complete with what another one has, which must be what its ``meta`` says.

        Raises:
            StoreError: when it is not.
        """
        with atomic_file(self.rows) as temporary:
            temporary.write_bytes(other.read_content(meta))
        self._write_meta(meta)

    def _write_meta(self, meta: ShardMeta) -> None:
        with atomic_file(self.meta) as temporary:
            temporary.write_text(json.dumps(asdict(meta)) + "\n", encoding="ascii")

    def read_content(self, meta: ShardMeta) -> bytes:
        """The compressed rows of a complete shard.

        Raises:
            StoreError: when they are not what ``meta`` says.
        """
        content = self.rows.read_bytes()
        if hashlib.sha256(content).hexdigest() != meta.sha256:
            raise StoreError(
                f"{self.rows} is not what was written (its SHA-256 differs); remove {self.meta} and label again"
            )
        return content

    def read_rows(self) -> Iterator[bytes]:
        """Yields the rows that the shard has, complete or not, in order of their index; also while it is written.

        Raises:
            StoreError: when the shard is complete and damaged.
        """
        while (meta := self.read_meta()) is None:
            if started := self.read_started():
                yield from (started[index] for index in sorted(started))
                return
            # Completed since we asked for the meta, or not begun.
            if not self.meta.exists():
                return
        count = 0
        for line in self.read_lines():
            count += 1
            yield line
        if count != meta.rows:
            raise StoreError(f"{self.rows} must hold {meta.rows} rows, got {count}; label again to redo it")

    def read_started(self) -> dict[int, bytes]:
        """The rows in the journal by the index of their image: the first of each."""
        started: dict[int, bytes] = {}
        for line in read_journal(self.journal):
            started.setdefault(row_key(line)[0], line)
        return started

    def read_lines(self) -> Iterator[bytes]:
        """Yields the rows of a complete shard, in order, with their line ends.

        Raises:
            StoreError: when the rows are missing, cut short or damaged.
        """
        try:
            with open(self.rows, "rb") as stream, zstandard.ZstdDecompressor().stream_reader(stream) as reader:
                rest = b""
                while chunk := reader.read(1 << 20):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from (line + b"\n" for line in lines)
        except (zstandard.ZstdError, FileNotFoundError) as error:
            raise StoreError(f"{self.rows} is damaged ({error}); label again to redo it") from error
        if rest:
            raise StoreError(f"{self.rows} ends within a row; label again to redo it")


def _compressed(lines: Sequence[bytes]) -> Iterator[bytes]:
    # A line at a time, so that the shard is not in memory twice. How it is cut into calls may decide the bytes.
    stream = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True).compressobj(sum(map(len, lines)))
    for line in lines:
        yield stream.compress(line)
    yield stream.flush()

"""Checking a store: every byte against its digest, every row against the manifest, every code against its image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dico.rle import run_ends
from dico.store.errors import StoreError
from dico.store.mask_store import MaskStore
from dico.store.rows import LabelRow, decode_row
from dico.store.shards import ShardFiles


@dataclass(frozen=True)
class VerifyReport:
    """What a check of a whole store found.

    Attributes:
        images: Images in the manifest.
        done: Images with masks that were read and found good or bad.
        failed: Images that failed.
        masks: Masks that were read.
        problems: What is wrong, a line each; empty for a sound store. Images that are still to do are no problem.
    """

    images: int
    done: int
    failed: int
    masks: int
    problems: tuple[str, ...]

    @property
    def pending(self) -> int:
        """Images without a row."""
        return self.images - self.done - self.failed


def verify_store(store: MaskStore) -> VerifyReport:
    """Reads a store from end to end.

    Args:
        store: The store; it may be unfinished.

    Returns:
        Counts, and what is wrong: a shard whose size, digest or number of rows is not what its meta says; a row that is
        damaged, repeated, out of order or of another image; a mask whose code does not fit the size of its image.
    """
    done = failed = masks = 0
    problems: list[str] = []
    for shard in range(store.manifest.shards):
        files = ShardFiles.of(store.path, shard)
        problems += _file_problems(files)
        seen: set[int] = set()
        failed_before = failed
        try:
            for line in store.lines(shard):
                row = decode_row(line)
                problems += _row_problems(store, shard, row, seen)
                seen.add(row.index)
                done, failed = done + (row.status == "done"), failed + (row.status == "failed")
                masks += len(row.masks) if row.masks is not None else 0
        except StoreError as error:
            problems.append(str(error))
            continue
        meta = files.read_meta()
        if meta is not None and meta.failed != failed - failed_before:
            problems.append(f"{files.meta} must count {failed - failed_before} failed images, got {meta.failed}")
    return VerifyReport(len(store.manifest.entries), done, failed, masks, tuple(problems))


def _file_problems(files: ShardFiles) -> Iterator[str]:
    try:
        meta = files.read_meta()
    except StoreError as error:
        yield str(error)
        return
    if meta is None or not files.rows.exists():
        return  # not complete, or reported when its rows are read
    if (size := files.rows.stat().st_size) != meta.bytes:
        yield f"{files.rows} must have {meta.bytes} bytes, got {size}; label again to redo it"
        return
    try:
        files.read_content(meta)
    except StoreError as error:
        yield str(error)


def _row_problems(store: MaskStore, shard: int, row: LabelRow, seen: set[int]) -> Iterator[str]:
    if row.index not in store.manifest.shard_indices(shard):
        yield f"shard {shard} holds image {row.index}, which is not one of its own"
        return
    if row.index in seen:
        yield f"image {row.index} ({row.path}) has two rows"
    if seen and row.index < max(seen):
        yield f"image {row.index} ({row.path}) is out of order"
    if row.path != (path := store.manifest.entries[row.index].path):
        yield f"image {row.index} must be {path}, got {row.path}"
    if row.masks is not None:
        for i, rle in enumerate(row.masks.rles):
            try:
                run_ends(rle, row.masks.size_hw)
            except ValueError as error:
                yield f"image {row.index} ({row.path}), mask {i}: {error}"

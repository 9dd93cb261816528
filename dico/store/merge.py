"""Several stores made one: the parts of one job, or the labels of several folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dico.atomic import atomic_file
from dico.store.creation import MERGING, has_rows, refuse_when_replaced
from dico.store.errors import StoreError
from dico.store.journal import write_journal
from dico.store.leftovers import remove_leftovers
from dico.store.lock import ShardLock
from dico.store.manifest import Manifest, config_differences
from dico.store.mask_store import MaskStore
from dico.store.part import Part, PartRow
from dico.store.rows import Failure, encode_failure, moved_row
from dico.store.shards import ShardFiles, ShardMeta
from dico.store.union import Union


@dataclass(frozen=True)
class MergeReport:
    """What a merge wrote.

    Attributes:
        output: The store.
        images: Images in it.
        done: Images that have masks.
        failed: Images that failed, and that have masks in no store.
        pending: Images without a row in any store.
    """

    output: Path
    images: int
    done: int
    failed: int
    pending: int

    def __str__(self) -> str:
        return (
            f"{self.output}: {self.images:,} images, {self.done:,} done, {self.failed:,} failed, {self.pending:,} to do"
        )


def merge_stores(sources: Sequence[MaskStore], output: str | Path) -> MergeReport:
    """Writes the rows of several stores into a new one.

    Its images are those of all stores, sorted by path relative to the deepest folder that holds them all. Stores of one
    listing, each with some of its shards, so become the store that one run would have written, byte for byte. Of an
    image that is in several stores, a row of masks goes before one of a failure; of equals, the first store's is taken.
    The size that the image is listed with is the one from where its row is. Shards are as long as the first store's. In
    memory there are the one shard that is being written, and the failures of each store.

    Args:
        sources: At least one store, finished or not, all of one configuration. They are only read.
        output: A new or empty folder, or one in which a merge of the same stores was interrupted, which starts over.
            Until the merge is done, the folder cannot be written to by a run.

    Returns:
        What was written.

    Raises:
        ValueError: when there is no store.
        StoreError: when configurations differ (the message says in what), a store is damaged, or ``output`` holds
            something else or is being written.
    """
    if not sources:
        raise ValueError("sources must be at least one store, got none")
    folder = Path(output)
    _refuse_other_configurations(sources)
    if folder.is_dir() and has_rows(folder) and not (folder / MERGING).exists():
        raise StoreError(f"{folder} has labels already; OUTPUT must be a new or an empty folder")
    union = Union.of([store.manifest for store in sources])
    parts = [Part(source) for source in sources]
    store = MaskStore.create(folder, _manifest(parts, union))
    with ShardLock(folder, range(max(1, store.manifest.shards))) as lock:
        refuse_when_replaced(folder, store.manifest)
        (folder / MERGING).touch()
        (folder / "shards").mkdir(exist_ok=True)
        remove_leftovers(folder, lock.shards)
        with atomic_file(store.failures_path) as temporary, open(temporary, "wb") as stories:
            for shard in range(store.manifest.shards):
                lock.touch()
                stories.writelines(map(encode_failure, _write(store, shard, parts, union)))
        (folder / MERGING).unlink()
    status = store.status()
    return MergeReport(folder, status.images, status.done, status.failed, status.pending)


def _refuse_other_configurations(stores: Sequence[MaskStore]) -> None:
    first = stores[0]
    for other in stores[1:]:
        if other.manifest.config_hash != first.manifest.config_hash:
            names = (f"in {first.path}", f"in {other.path}")
            differences = config_differences(first.manifest.config, other.manifest.config, *names)
            raise StoreError(
                f"{first.path} and {other.path} were labelled with different settings and cannot be merged:\n  "
                + "\n  ".join(differences)
            )


def _manifest(parts: Sequence[Part], union: Union) -> Manifest:
    sizes = {}
    for target in union.disputed:  # the size goes with the row that is kept
        holders = [(parts[i], index) for i, index in union.sources(target)]
        part, index = min(holders, key=lambda holder: holder[0].rank(holder[1]))
        sizes[target] = part.store.manifest.entries[index].bytes
    first = parts[0].store.manifest
    return Manifest(union.root, union.entries.with_sizes(sizes), first.config, first.config_hash, first.shard_size)


def _write(store: MaskStore, shard: int, parts: Sequence[Part], union: Union) -> list[Failure]:
    """Writes one shard, as far as there are rows for it, and returns the stories of the failures among them."""
    indices = store.manifest.shard_indices(shard)
    spans = [range(*map(int, np.searchsorted(rising, (indices.start, indices.stop)))) for rising in union.targets]
    holders = [i for i, part in enumerate(parts) if part.has_rows(spans[i])]
    alone = holders[0] if len(holders) == 1 and spans[holders[0]] == indices else None
    copied = None if alone is None else _copied(store, shard, parts[alone].store)
    if copied is not None and not copied.failed:
        return []
    best: dict[int, tuple[Part, PartRow]] = {}
    for i in holders:
        for row in parts[i].rows(spans[i]):
            target = int(union.targets[i][row.index])
            if target not in best or (best[target][1].failed and not row.failed):
                best[target] = parts[i], row
    failed = {target: (part, row) for target, (part, row) in sorted(best.items()) if row.failed}
    if copied is None:
        # Taken out one by one: in memory there is one copy of the shard.
        lines = [moved_row(best.pop(target)[1].line, store.manifest.entries[target]) for target in sorted(best)]
        _replace(ShardFiles.of(store.path, shard), lines, len(failed), complete=len(lines) == len(indices))
    return [
        replace(part.failures[row.index], index=target, path=store.manifest.entries[target].path)
        for target, (part, row) in failed.items()
        if row.index in part.failures
    ]


def _copied(store: MaskStore, shard: int, source: MaskStore) -> ShardMeta | None:
    """Copies a shard of the same images as it is, which takes a tenth of the time, or returns None if it is not so."""
    if (source.manifest.root, source.manifest.shard_size) != (store.manifest.root, store.manifest.shard_size):
        return None
    theirs, ours = ShardFiles.of(source.path, shard), ShardFiles.of(store.path, shard)
    meta = theirs.done_meta()
    if meta is not None and meta != ours.done_meta():
        ours.copy_from(theirs, meta)
    return meta


def _replace(files: ShardFiles, lines: Sequence[bytes], failed: int, *, complete: bool) -> None:
    """Writes what a shard has, whatever a merge that was interrupted left of it."""
    if complete:
        files.write(lines, failed)
        files.journal.unlink(missing_ok=True)
    else:
        if lines or files.journal.exists():
            write_journal(files.journal, lines)
        files.meta.unlink(missing_ok=True)

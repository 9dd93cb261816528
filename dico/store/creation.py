"""Making a store, or finding that a folder is one of the same job: what several drivers may do at the same time."""

from __future__ import annotations

import sys
from pathlib import Path

from dico.store.errors import StoreError
from dico.store.failures import FAILURES
from dico.store.guard import LOCKS, guard
from dico.store.journal import read_journal
from dico.store.lock import refuse_when_written
from dico.store.manifest import MANIFEST, Manifest
from dico.store.rows import row_key
from dico.store.shards import ShardFiles

MERGING = "merging"
"""Name of the file that is there while a merge writes the store: until it is done, no run may go on with it."""
_ALL_SHARDS = range(sys.maxsize)


def settle_manifest(folder: Path, manifest: Manifest, *, retry_failed: bool = False) -> Manifest:
    """Makes the manifest of a folder's store the one that is given, where that changes nothing that was labelled.

    Args:
        folder: A folder that is missing, empty or a store.
        manifest: What the store is to be about.
        retry_failed: Whether images without masks may have another size than they had: they are read again.

    Returns:
        What the store is about now.

    Raises:
        StoreError: when the store is about another job (the message says what differs) and has rows or is being
            written, or when the folder holds other files.
    """
    if not (folder / MANIFEST).exists():
        _refuse_other_files(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with guard(folder):
            if not (folder / MANIFEST).exists():  # another driver may have been faster
                manifest.write(folder / MANIFEST)
                return manifest
    stored = Manifest.read(folder / MANIFEST)
    differences = stored.differences(manifest)
    if not differences:
        return stored
    if not retry_failed and has_rows(folder):
        raise _another_job(folder, differences, mended=_were_only_mended(folder, stored, manifest))
    with guard(folder):
        # All is asked again, as others may have written before the guard was held.
        stored = Manifest.read(folder / MANIFEST)
        differences = stored.differences(manifest)
        if not differences:
            return stored
        if not (retry_failed and _were_only_mended(folder, stored, manifest)):
            if has_rows(folder):
                raise _another_job(folder, differences)
            refuse_when_written(folder, _ALL_SHARDS)
            _clear(folder)
        manifest.write(folder / MANIFEST)
        return manifest


def refuse_when_replaced(folder: Path, manifest: Manifest) -> None:
    """Raises when the store is not about ``manifest`` any more; to be asked once its shards are locked.

    Raises:
        StoreError: when another process made the store anew before it was locked.
    """
    if not manifest.is_in(folder / MANIFEST):
        raise StoreError(f"{folder} was made anew for other images or settings meanwhile; run again")


def has_rows(folder: Path) -> bool:
    """Whether the store in a folder has a shard, or a row in a journal."""
    shards = folder / "shards"
    if any(True for end in ("meta.json", "jsonl.zst") for _ in shards.glob(f"[0-9]*.{end}")):
        return True
    return any(next(read_journal(journal), None) is not None for journal in shards.glob("*.journal"))


def _another_job(folder: Path, differences: list[str], *, mended: bool = False) -> StoreError:
    what = "\n  " + "\n  ".join(differences)
    if mended:
        return StoreError(f"{folder} has no masks of images that are not what they were; add --retry-failed:{what}")
    return StoreError(
        f"{folder} belongs to another run and was left as it is; choose another output, or run with what the store"
        f" has:{what}"
    )


def _refuse_other_files(folder: Path) -> None:
    if not folder.exists():
        return
    # A file whose name begins with a dot may be what a run that was killed left of its manifest.
    ours = folder.is_dir() and all(child.name.startswith(".") or child.name == LOCKS for child in folder.iterdir())
    # Another driver may have made the store while we looked, and then what we saw is its.
    if not ours and not (folder / MANIFEST).exists():
        raise StoreError(f"{folder} exists and is not a store; OUTPUT must be a new or empty folder, or a store")


def _clear(folder: Path) -> None:
    """Removes what is left of a job without rows, whose shards may be more than the next one's."""
    for leftover in (folder / "shards").glob("*"):
        leftover.unlink()
    (folder / FAILURES).unlink(missing_ok=True)


def _were_only_mended(folder: Path, stored: Manifest, manifest: Manifest) -> bool:
    """Whether nothing but sizes differs, and those only of images that have no masks.

    A size tells that a labelled image was changed; one that failed, or was not tried yet, is read when its turn comes.
    """
    resized = stored.resized(manifest)
    if resized is None:
        return False
    labelled_by_shard: dict[int, set[int]] = {}
    for index in resized:
        shard = index // stored.shard_size
        if shard not in labelled_by_shard:
            keys = map(row_key, ShardFiles.of(folder, shard).read_rows())
            labelled_by_shard[shard] = {index for index, failed in keys if not failed}
        if index in labelled_by_shard[shard]:
            return False
    return True

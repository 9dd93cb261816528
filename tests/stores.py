"""Stores for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dico.masks import MaskSet
from dico.store import Failure, ImageEntry, Manifest, MaskStore


def make_store(folder: Path, labels: Mapping[str, MaskSet | str | None], *, shard_size: int = 2) -> MaskStore:
    """A store in ``folder / "store"`` of images in ``folder``.

    Args:
        folder: Where the images lie.
        labels: For each path its masks, or the kind of its failure, or None when it was not tried yet.
        shard_size: Images a shard.
    """
    entries = tuple(ImageEntry(index, path, 1) for index, path in enumerate(sorted(labels)))
    manifest = Manifest(str(folder), entries, {"seed": 0}, "0123456789ab", shard_size)
    store = MaskStore.create(folder / "store", manifest)
    with store.writer() as writer:
        for entry in entries:
            label = labels[entry.path]
            if isinstance(label, MaskSet):
                writer.write(entry.index, label)
            elif label is not None:
                writer.fail(Failure(entry.index, entry.path, label, f"{label} of {entry.path}"))  # type: ignore[arg-type]
    return store

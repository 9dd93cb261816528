"""Stores for tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dico.masks import MaskSet
from dico.store import Failure, ImageEntry, Manifest, MaskStore

CONFIG = {"seed": 0, "select": {"max_masks": 350, "max_iou": 0.9}}
FAILING = (2, 8, 13)
"""Images that failed in :func:`tests.conftest.whole_store`."""


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


def manifest_of(count: int, *, shard_size: int = 4, **changes: object) -> Manifest:
    """A manifest of ``count`` images that do not exist."""
    entries = tuple(ImageEntry(i, f"sub/{i:03d} ü.jpg", 100 + i) for i in range(count))
    return replace(Manifest("/photos", entries, CONFIG, "abc", shard_size), **changes)


def masks_of(index: int) -> MaskSet:
    """Masks as image ``index`` might have: none for each third image."""
    rng = np.random.default_rng(index)
    masks_NHW = rng.random((index % 3, 5 + index % 2, 7)) < 0.5
    return MaskSet.from_arrays(masks_NHW, score=rng.random(index % 3), source="drawn")


def fill(store: MaskStore, indices: Iterable[int], failing: tuple[int, ...] = (), shards: range | None = None) -> None:
    """Writes the rows of images that have none."""
    with store.writer(shards) as writer:
        for index in indices:
            if index in failing:
                assert writer.fail(Failure(index, store.manifest.entries[index].path, "decode", "ImageError: broken"))
            else:
                assert writer.write(index, masks_of(index))


def shard_bytes(store: MaskStore) -> dict[str, bytes]:
    """What is in the store's folder of shards."""
    return {path.name: path.read_bytes() for path in sorted((store.path / "shards").iterdir())}

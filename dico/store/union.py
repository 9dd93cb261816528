"""Which images several stores have between them, and where those of each store stand in a listing of all."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import groupby
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from dico.inputs import path_order
from dico.store.entries import ImageEntries
from dico.store.errors import StoreError
from dico.store.manifest import Manifest


@dataclass(frozen=True)
class Union:
    """The images of several manifests, each once, sorted by path.

    Attributes:
        root: The folder that the paths are relative to: the deepest that holds those of all manifests.
        entries: The images; the size of each is that of the first manifest that has it.
        targets: For each manifest the index among ``entries`` of each of its images, rising.
        disputed: Indices of the images whose size differs between manifests.
    """

    root: str
    entries: ImageEntries
    targets: tuple[NDArray[np.int64], ...]
    disputed: tuple[int, ...]

    @classmethod
    def of(cls, manifests: Sequence[Manifest]) -> Union:
        """The images of at least one manifest.

        Raises:
            StoreError: when a manifest lists its images in another order than by path.
        """
        root = os.path.commonpath([manifest.root for manifest in manifests])
        listed = [ImageEntries.of(manifest.entries) for manifest in manifests]
        if all(manifest.root == root for manifest in manifests) and all(map(listed[0].same_paths, listed)):
            # As of drivers that each wrote some of the shards: there is nothing to sort.
            disputed = {index for entries in listed for index in listed[0].resized(entries)}
            targets = tuple(np.arange(len(entries)) for entries in listed)
            return cls(root, listed[0], targets, tuple(sorted(disputed)))
        return _merged(root, manifests)

    def sources(self, target: int) -> Iterator[tuple[int, int]]:
        """Yields which manifests have an image, and the index that it has there."""
        for source, targets in enumerate(self.targets):
            index = int(np.searchsorted(targets, target))
            if index < len(targets) and targets[index] == target:
                yield source, index


def _merged(root: str, manifests: Sequence[Manifest]) -> Union:
    targets, sizes, disputed = [array("q") for _ in manifests], array("q"), list[int]()

    def paths() -> Iterator[str]:
        streams = [_keyed(source, manifest, root) for source, manifest in enumerate(manifests)]
        for target, (_, same) in enumerate(groupby(merge(*streams), key=lambda image: image[0])):
            first, *others = same
            sizes.append(first[3])
            if any(other[3] != first[3] for other in others):
                disputed.append(target)
            for _, source, _, _ in (first, *others):
                targets[source].append(target)
            yield first[2]

    entries = ImageEntries(paths(), sizes)
    return Union(root, entries, tuple(np.array(rising, np.int64) for rising in targets), tuple(disputed))


def _keyed(source: int, manifest: Manifest, root: str) -> Iterator[tuple[str, int, str, int]]:
    folder = PurePosixPath(manifest.root).relative_to(root).as_posix()
    prefix = "" if folder == "." else f"{folder}/"
    before = ""
    for path, size in ImageEntries.of(manifest.entries).pairs():
        key = path_order(prefix + path)
        if key <= before:
            raise StoreError(
                f"the images of {manifest.root} must be listed by path to be merged with others, but {path} comes late"
            )
        before = key
        yield key, source, prefix + path, size

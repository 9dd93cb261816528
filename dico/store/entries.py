"""The images of a manifest: a sequence that stays small at ten million of them.

A tuple of objects takes 220 bytes an image; here the paths lie end to end in one string of bytes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray

# File names are bytes that need not be UTF-8; Python reads what is not as lone surrogates, which this lets through.
_ENCODING, _ERRORS = "utf-8", "surrogatepass"


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One image of a store.

    Attributes:
        index: Place in the sorted listing, from 0; the image's key everywhere.
        path: Relative to the manifest's root, with forward slashes.
        bytes: Size of the file, or -1 when it could not be looked at.
    """

    index: int
    path: str
    bytes: int


class ImageEntries(Sequence[ImageEntry]):
    """An immutable sequence of :class:`ImageEntry`, each made when it is asked for; entry i has index i.

    Args:
        paths: Paths relative to the manifest's root, with forward slashes.
        sizes: As many sizes in bytes.

    Raises:
        ValueError: when there are not as many sizes as paths.
    """

    __slots__ = ("_ends", "_paths", "_sizes")

    def __init__(self, paths: Iterable[str], sizes: Iterable[int]) -> None:
        joined, ends = bytearray(), array("q", [0])
        for path in paths:
            joined += path.encode(_ENCODING, _ERRORS)
            ends.append(len(joined))
        self._paths = bytes(joined)
        self._ends: NDArray[np.int64] = np.array(ends, np.int64)
        self._sizes: NDArray[np.int64] = np.fromiter(sizes, np.int64)
        if len(self._sizes) != len(ends) - 1:
            raise ValueError(f"sizes must be as many as paths ({len(ends) - 1}), got {len(self._sizes)}")

    @classmethod
    def of(cls, entries: Sequence[ImageEntry]) -> ImageEntries:
        """The entries of any sequence.

        Raises:
            ValueError: when the indices do not count from 0.
        """
        if isinstance(entries, ImageEntries):
            return entries
        if any(entry.index != i for i, entry in enumerate(entries)):
            raise ValueError("entries must have the indices 0, 1, 2, ... in order")
        return cls((entry.path for entry in entries), (entry.bytes for entry in entries))

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, index: int) -> ImageEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> ImageEntry | tuple[ImageEntry, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        at = range(len(self))[index]
        return ImageEntry(at, self._decoded(int(self._ends[at]), int(self._ends[at + 1])), int(self._sizes[at]))

    def __iter__(self) -> Iterator[ImageEntry]:
        for i, (path, size) in enumerate(self.pairs()):
            yield ImageEntry(i, path, size)

    def pairs(self) -> Iterator[tuple[str, int]]:
        """Yields path and size of each image, in order: iterating without the objects."""
        for start in range(0, len(self), 4096):  # lists of Python's own numbers are read faster than arrays
            ends = self._ends[start : start + 4097].tolist()
            sizes = self._sizes[start : start + 4096].tolist()
            for (begin, end), size in zip(pairwise(ends), sizes, strict=True):
                yield self._decoded(begin, end), size

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImageEntries):
            return self.same_paths(other) and np.array_equal(self._sizes, other._sizes)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ImageEntries({len(self)} images)"

    def same_paths(self, other: ImageEntries) -> bool:
        """Whether both name the same images in the same order, of whatever size."""
        return self._paths == other._paths and np.array_equal(self._ends, other._ends)

    def resized(self, other: ImageEntries) -> list[int]:
        """Indices of the images whose size differs in ``other``, which must name the same images."""
        return [int(index) for index in np.flatnonzero(self._sizes != other._sizes)]

    def with_sizes(self, size_by_index: Mapping[int, int]) -> ImageEntries:
        """The same images, some of them of another size."""
        changed = ImageEntries((), ())
        changed._paths, changed._ends, changed._sizes = self._paths, self._ends, self._sizes.copy()
        for index, size in size_by_index.items():
            changed._sizes[index] = size
        return changed

    def sha256(self) -> str:
        """A digest of all paths and sizes, hexadecimal."""
        digest = hashlib.sha256(self._paths)
        digest.update(self._ends.astype("<i8").tobytes())
        digest.update(self._sizes.astype("<i8").tobytes())
        return digest.hexdigest()

    def _decoded(self, begin: int, end: int) -> str:
        return self._paths[begin:end].decode(_ENCODING, _ERRORS)

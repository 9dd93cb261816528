"""What every source has in common: records are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from typing import SupportsIndex, overload

from training.records import ImageRecord, Source


class LazySource(Source):
    """A source that makes its records one by one; a subclass says how many there are and makes each."""

    @abstractmethod
    def record(self, place: int) -> ImageRecord:
        """The record at a place from 0 to the number of images."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ImageRecord, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> ImageRecord | tuple[ImageRecord, ...]:
        if isinstance(index, slice):
            return tuple(self.record(place) for place in range(len(self))[index])
        return self.record(range(len(self))[index])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self)} images)"

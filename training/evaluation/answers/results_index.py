"""Where the entries of a COCO results file lie, image by image: the file is read once, in parts, and left where it is.

A results file of five thousand images with a thousand masks each is gigabytes of text, and ten times that as Python
objects. Of each entry 20 bytes are kept here.

Axes: E entries of the file, ordered by image, those of one image as in the file.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

READ_BYTES = 1 << 20
LONGEST_ENTRY = 1 << 26
"""An entry that does not end within so many bytes is taken for a damaged one."""
LARGEST_ID, LARGEST_SCORE = 1 << 63, float(np.finfo(np.float32).max)
_REMEDY = "write the file again, or fetch it again"
_EXAMPLE = '{"image_id": 1, "segmentation": {"size": [H, W], "counts": ...}, "score": 0.5}'
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, eq=False)
class ResultsIndex:
    """Where the entries of a results file lie.

    Attributes:
        path: The file.
        size: How many bytes it had when it was read.
        image_E: int64, rising: the image that each entry is of.
        start_E: uint64: the byte that it begins at.
        length_E: uint32: how many bytes it has.
    """

    path: Path
    size: int
    image_E: NDArray[np.int64]
    start_E: NDArray[np.uint64]
    length_E: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.image_E)

    def entries(self, image_id: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yields the entries of one image in the order of the file, each with the byte that it begins at.

        Raises:
            ValueError: when the file was changed since it was read.
        """
        first, last = np.searchsorted(self.image_E, [image_id, image_id + 1])
        with open(self.path, "rb") as stream:
            if stream.seek(0, 2) != self.size:
                raise ValueError(f"{self.path} was changed since it was opened; start again")
            for start, length in zip(
                self.start_E[first:last].tolist(), self.length_E[first:last].tolist(), strict=True
            ):
                stream.seek(start)
                try:
                    yield start, json.loads(stream.read(length))
                except ValueError as error:
                    raise ValueError(f"{self.path} was changed since it was opened ({error}); start again") from error


def index_results(path: Path) -> ResultsIndex:
    """Reads a results file once: a JSON array of an object for each mask.

    Args:
        path: The file, of any size; a few megabytes of it are in memory at once.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no results file, or an entry is damaged; with the entry, where it lies and the remedy.
    """
    images, starts, lengths = array("q"), array("Q"), array("I")
    with open(path, "rb") as stream:
        for number, (value, start, length) in enumerate(_elements(path, stream)):
            if fault := _fault_of(value):
                raise ValueError(f"{_place(path, number, start)} {fault}; write entries such as {_EXAMPLE}")
            images.append(value["image_id"])
            starts.append(start)
            lengths.append(length)
    image_E = np.array(images, dtype=np.int64)
    by_image = np.argsort(image_E, kind="stable")
    return ResultsIndex(
        path=path,
        size=path.stat().st_size,
        image_E=image_E[by_image],
        start_E=np.array(starts, dtype=np.uint64)[by_image],
        length_E=np.array(lengths, dtype=np.uint32)[by_image],
    )


def _fault_of(value: Any) -> str | None:
    if not isinstance(value, dict):
        return f"is no object but {str(value)[:40]}"
    missing = [key for key in ("image_id", "segmentation", "score") if key not in value]
    if missing:
        return f"has no {' and no '.join(missing)}"
    if type(value["image_id"]) is not int or not abs(value["image_id"]) < LARGEST_ID:
        return f"has an image_id that is no int64: {value['image_id']!r}"
    score = value["score"]
    if type(score) not in (int, float) or not abs(score) <= LARGEST_SCORE:
        return f"has a score that is no float32: {str(score)[:40]}"
    return None


def _elements(path: Path, stream: IO[bytes]) -> Iterator[tuple[Any, int, int]]:
    """Yields the elements of an array, each with the byte that it begins at and how many it has."""
    window = _Window(stream)
    if window.sign() != "[":
        raise ValueError(f"{path} must be a results file, a JSON array of entries such as {_EXAMPLE}; it is none")
    window.skip(1)
    number = 0
    while window.sign() != "]":
        start = window.place
        value, length = _value(path, window, number)
        yield value, start, length
        sign = window.sign()
        if sign not in (",", "]"):
            story = f"is followed by {sign!r}" if sign else "is the last, and the array has no end"
            raise ValueError(f"{_place(path, number, start)} {story}; {_REMEDY}")
        number += 1
        window.skip(1 if sign == "," else 0)


def _value(path: Path, window: _Window, number: int) -> tuple[Any, int]:
    """The value that the window begins with, and its length; the window moves behind it."""
    start = window.place
    while True:
        try:
            value, end = json.JSONDecoder().raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            held = len(window.text) - window.at
            if held > LONGEST_ENTRY or not window.read_on(max(READ_BYTES, held)):
                raise ValueError(
                    f"{_place(path, number, start)} is damaged or cut off ({error.msg}); {_REMEDY}"
                ) from error
            continue
        length = end - window.at
        window.skip(length)
        return value, length


class _Window:
    """The part of a file that is in memory. Every byte is one character: what json counts are bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.text = ""
        self.at = 0
        self._stream = stream
        self._first = 0  # the byte that the text begins with

    @property
    def place(self) -> int:
        """The byte that comes next."""
        return self._first + self.at

    def skip(self, count: int) -> None:
        """Goes on behind so many characters."""
        self.at += count

    def sign(self) -> str:
        """The next character that is no space, which comes next then; empty at the end of the file."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.read_on(READ_BYTES):
                return ""

    def read_on(self, count: int) -> bool:
        """Reads more, and forgets what was skipped; whether there was more."""
        more = self._stream.read(count)
        self.text = self.text[self.at :] + more.decode("latin-1")
        self._first += self.at
        self.at = 0
        return bool(more)


def _place(path: Path, number: int, start: int) -> str:
    return f"{path}: entry {number} (counted from 0; at byte {start})"

"""The failure log: why images failed, a line of JSON each. One file for all writers of a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dico.atomic import atomic_file
from dico.store.guard import guard
from dico.store.rows import Failure, decode_failure, encode_failure

FAILURES = "failures.jsonl"


def read_failures(path: Path) -> list[Failure]:
    """The failures of a log, in order of their index: the last of each image; a line that was cut short is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    by_index = {}
    for line in lines:
        try:
            failure = decode_failure(line)
        except ValueError:
            continue
        by_index[failure.index] = failure
    return [by_index[index] for index in sorted(by_index)]


class FailureLog:
    """The failure log of a store, to change. The file is made with the first failure.

    Args:
        folder: The store's folder. Its guard is held while the file changes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FAILURES

    def append(self, failure: Failure) -> None:
        """Adds one failure and forces it to the disk."""
        with guard(self.folder), open(self.path, "ab+") as stream:
            # What another writer was adding when its machine died must not swallow this line.
            if stream.tell() and os.pread(stream.fileno(), 1, stream.tell() - 1) != b"\n":
                stream.write(b"\n")
            stream.write(encode_failure(failure))
            stream.flush()
            os.fsync(stream.fileno())

    def keep(self, is_true: Callable[[list[Failure]], list[Failure]]) -> None:
        """Rewrites the log with the failures that ``is_true`` picks of all; does nothing when that is all of them."""
        with guard(self.folder):
            if self.path.exists():
                kept = b"".join(map(encode_failure, is_true(read_failures(self.path))))
                if kept != self.path.read_bytes():
                    with atomic_file(self.path) as temporary:
                        temporary.write_bytes(kept)

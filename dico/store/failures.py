"""The failure log: why images failed, a line of JSON each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dico.atomic import atomic_file
from dico.store.rows import Failure, decode_failure, encode_failure


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
    """The failure log, open for appending. The file is made with the first failure.

    Args:
        path: The log.
        is_done: Tells of an index whether the store has its row. Stories without one, which a run that was killed left
            behind, are dropped: those images are tried again.
    """

    def __init__(self, path: Path, is_done: Callable[[int], bool]) -> None:
        self.path = path
        if path.exists():
            kept = [encode_failure(failure) for failure in read_failures(path) if is_done(failure.index)]
            if b"".join(kept) != path.read_bytes():
                with atomic_file(path) as temporary:
                    temporary.write_bytes(b"".join(kept))

    def append(self, failure: Failure) -> None:
        """Adds one failure and forces it to the disk."""
        with open(self.path, "ab") as stream:
            stream.write(encode_failure(failure))
            stream.flush()
            os.fsync(stream.fileno())

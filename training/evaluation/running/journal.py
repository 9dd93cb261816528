"""What is known so far of the images of a data set, kept in a file, so that an evaluation that was ended can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dico.store.guard import take_lock
from dico.store.journal import Journal, read_journal
from dico.store.manifest import config_differences

_FORMAT = {"format": "dico-evaluation", "version": 1}


class JournalError(ValueError):
    """There is a journal already, and it is not to be gone on with, or not about what is asked now."""


class ResultJournal:
    """Results of images, one after the other, under a header that says what was asked.

    A result is handed to the operating system at once: when the process dies, no more is lost than what it worked on.
    A result that was cut off, and all that follow it, are forgotten when the journal is opened again.

    Args:
        path: The file; made, with its folder, when missing.
        asked: All that the results depend on; JSON-ready.
        resume: Whether a journal that is there already is gone on with.

    Raises:
        JournalError: when there is one with results and it is not to be gone on with, or is about something else; or
            another process writes it.
        dico.store.errors.StoreError: when the file system has no locks.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], *, resume: bool) -> None:
        require_resumable(path, asked, resume=resume)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not take_lock(self._lock, path.parent, wait=False):
            os.close(self._lock)
            raise JournalError(f"{path} is written by another process now; let it end, or choose another --output")
        self._journal = Journal(path)
        if next(read_journal(path), None) is None:
            self.append(_header(asked))

    def __enter__(self) -> ResultJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        os.close(self._lock)

    def append(self, result: Mapping[str, Any]) -> None:
        """Adds a result; JSON-ready.

        Raises:
            OSError: when it cannot be written.
        """
        self._journal.append(json.dumps(result).encode())

    def results(self) -> Iterator[dict[str, Any]]:
        """Yields all results, also those of earlier runs, in the order they were added."""
        entries = read_journal(self.path)
        next(entries)
        yield from map(json.loads, entries)


def require_resumable(path: Path, asked: Mapping[str, Any], *, resume: bool) -> None:
    """Raises what :class:`ResultJournal` would; writes nothing."""
    first = next(read_journal(path), None)
    if first is None:
        if path.is_file() and path.stat().st_size and not resume:
            raise JournalError(f"{path} is no journal of an evaluation; choose another --output, or remove it")
        return
    if not resume:
        raise JournalError(
            f"{path} has results already: --resume goes on with them; or choose another --output, or remove it"
        )
    differences = list(config_differences(json.loads(first), _header(asked), "in the journal", "now"))
    if differences:
        raise JournalError(
            f"{path} is about another evaluation ({'; '.join(differences)}); ask for the same, choose another"
            " --output, or remove it"
        )


def _header(asked: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps({**_FORMAT, **asked}))
    return plain

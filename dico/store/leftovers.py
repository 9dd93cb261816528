"""What a process that was killed left of files it was writing."""

from __future__ import annotations

import re
from pathlib import Path

from dico.store.failures import FAILURES
from dico.store.guard import guard
from dico.store.manifest import MANIFEST

_OF_SHARD = re.compile(r"\.(\d{6,})\..+\.tmp")


def remove_leftovers(folder: Path, shards: range) -> None:
    """Removes them; to be called by who holds the lock of these shards.

    Args:
        folder: The store's folder.
        shards: Of no other shards, as another writer is about to rename what looks the same.
    """
    with guard(folder):  # under which these two are written
        for pattern in (f".{MANIFEST}.*.tmp", f".{FAILURES}.*.tmp"):
            for leftover in folder.glob(pattern):
                leftover.unlink()
    for leftover in (folder / "shards").glob(".*.tmp"):
        if (match := _OF_SHARD.fullmatch(leftover.name)) and int(match[1]) in shards:
            leftover.unlink()

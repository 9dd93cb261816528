"""The guard of a store: what all its writers share, and the operating system's locks, which it is made of."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dico.store.errors import StoreError

LOCKS = "locks"
"""Name of the folder in a store's folder."""
GUARD = "guard"


@contextmanager
def guard(folder: Path) -> Iterator[None]:
    """Holds what all writers of a store share while the block runs: for what takes a moment, such as adding a line.

    Args:
        folder: The store's folder, which must exist. The block must not hold the guard of the same store again.

    Raises:
        StoreError: when the file system has no locks.
    """
    (folder / LOCKS).mkdir(exist_ok=True)
    descriptor = os.open(folder / LOCKS / GUARD, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        take_lock(descriptor, folder, wait=True)
        yield
    finally:
        os.close(descriptor)


def file_time(folder: Path) -> float:
    """What time it is where the files lie: clocks of machines differ."""
    path = folder / LOCKS / GUARD
    os.utime(path)
    return path.stat().st_mtime


def take_lock(descriptor: int, folder: Path, *, wait: bool) -> bool:
    """Locks an open file until it is closed.

    Args:
        descriptor: The file.
        folder: Where it lies, for the message.
        wait: Whether to wait for who has it locked.

    Returns:
        Whether it is ours; False when another process has it and ``wait`` is off.

    Raises:
        StoreError: when the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if not wait and error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            f"{folder} lies on a file system without locks ({error.strerror}); choose another output"
        ) from error
    return True

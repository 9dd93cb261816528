"""Who writes what: several processes share a store, each with shards of its own.

In the folder ``locks`` there is a file for each range of shards that is being written, named after the range, the
machine and the process: ``000000-000064.node7.4711.lock``. What locks it is ``flock``, which the operating system gives
up when the process dies, so that no process id is mistaken for another. Not every network file system passes such locks
on between machines; the file of another machine is therefore respected also when it looks free, as long as its owner
gives signs of life: it touches the file now and then. A job that was killed and starts again elsewhere need not be
helped by hand.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dico.store.errors import StoreError

LOCKS = "locks"
_GUARD = "guard"
TOUCH_EVERY_S = 30.0
SILENCE_S = 600.0
"""Who gave no sign of life for so long, on another machine, is dead."""
_NAME = re.compile(r"(\d+)-(\d+)\.(.+)\.(\d+)\.lock")


@contextmanager
def guard(folder: Path) -> Iterator[None]:
    """Holds what all writers of a store share while the block runs: for what takes a moment, such as adding a line.

    Args:
        folder: The store's folder, which must exist. The block must not hold the guard of the same store again.

    Raises:
        StoreError: when the file system has no locks.
    """
    (folder / LOCKS).mkdir(exist_ok=True)
    descriptor = os.open(folder / LOCKS / _GUARD, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, folder, wait=True)
        yield
    finally:
        os.close(descriptor)


class ShardLock:
    """Holds a range of the shards of a store while the block runs.

    Args:
        folder: The store's folder.
        shards: The range, in steps of 1.

    Raises:
        StoreError: on entering, when another process holds one of them; the message names it.
    """

    def __init__(self, folder: Path, shards: range) -> None:
        self.folder = folder
        self.shards = shards
        owner = _Owner(shards, socket.gethostname(), os.getpid())
        self.path = folder / LOCKS / owner.name
        self._owner = owner
        self._descriptor = -1
        self._touched = 0.0

    def __enter__(self) -> ShardLock:
        with guard(self.folder):
            # Claimed first, checked then: where the guard does not reach other machines both are refused, never none.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            if not _lock(descriptor, self.folder, wait=False):
                os.close(descriptor)
                raise StoreError(self._owner.refusal(self.folder))
            self._descriptor = descriptor
            os.utime(descriptor)  # the file may be one that a dead process with our id left
            try:
                refuse_when_written(self.folder, self.shards, besides=self.path)
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_ours():
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def touch(self) -> None:
        """Gives a sign of life, at most every half minute; to be called more often than every ten minutes.

        Raises:
            StoreError: when another machine has taken the lock for left behind, as it may after this process slept.
        """
        now = time.monotonic()
        if now - self._touched < TOUCH_EVERY_S:
            return
        self._touched = now
        if not self._is_ours():
            raise StoreError(
                f"{self.path} is gone: this process gave no sign of life for {SILENCE_S / 60:.0f} minutes, and another"
                " one may write its shards now; run again"
            )
        os.utime(self._descriptor)

    def _is_ours(self) -> bool:
        try:
            return self.path.stat().st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False


def refuse_when_written(folder: Path, shards: range, *, besides: Path | None = None) -> None:
    """Raises when one of the shards is being written; locks of processes that died are removed.

    Args:
        folder: The store's folder, whose guard the caller holds.
        shards: The shards asked about.
        besides: A lock that is passed over.

    Raises:
        StoreError: when one is, or when another machine left its lock not long ago.
    """
    for path in sorted((folder / LOCKS).glob("*.lock")):
        owner = _Owner.of(path.name)
        if owner is None or path == besides or not _overlap(owner.shards, shards):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue  # it has ended meanwhile
        try:
            if not _lock(descriptor, folder, wait=False):
                raise StoreError(owner.refusal(folder))
            silent_s = _file_time(folder) - os.fstat(descriptor).st_mtime
            if owner.host != socket.gethostname() and silent_s < SILENCE_S:
                raise StoreError(
                    f"{folder} was locked by process {owner.pid} on {owner.host} ({owner.span}), which gave a sign of"
                    f" life {max(0.0, silent_s):.0f} s ago; wait until it is silent for {SILENCE_S / 60:.0f} minutes,"
                    f" or remove {path} when you know that it is dead"
                )
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class _Owner:
    shards: range
    host: str
    pid: int

    @classmethod
    def of(cls, name: str) -> _Owner | None:
        match = _NAME.fullmatch(name)
        return cls(range(int(match[1]), int(match[2])), match[3], int(match[4])) if match else None

    @property
    def name(self) -> str:
        return f"{self.shards.start:06d}-{self.shards.stop:06d}.{self.host}.{self.pid}.lock"

    @property
    def span(self) -> str:
        return f"shards {self.shards.start}:{self.shards.stop}"

    def refusal(self, folder: Path) -> str:
        return (
            f"{folder} is being written by process {self.pid} on {self.host} ({self.span});"
            " wait for it to end, or choose other shards or another output"
        )


def _file_time(folder: Path) -> float:
    """What time it is where the files lie: clocks of machines differ."""
    path = folder / LOCKS / _GUARD
    os.utime(path)
    return path.stat().st_mtime


def _overlap(first: range, second: range) -> bool:
    return max(first.start, second.start) < min(first.stop, second.stop)


def _lock(descriptor: int, folder: Path, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if not wait and error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            f"{folder} lies on a file system without locks ({error.strerror}); choose another output"
        ) from error
    return True

"""Who writes what: several processes share a store, each with shards of its own.

In the folder ``locks`` there is a file for each range of shards that is being written, named after the range, the
machine and the process: ``000000-000064.node7.4711.lock``. What locks it is ``flock``, which the operating system gives
up when the process dies, so that no process id is mistaken for another. Not every network file system passes such locks
on between machines; the file of another machine is therefore respected also when it looks free, as long as its owner
gives signs of life: it touches the file now and then. A job that was killed and starts again elsewhere waits for the
silence of the machine that it ran on, and need not be helped by hand.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dico.store.errors import StoreError
from dico.store.guard import LOCKS, file_time, guard, take_lock

log = logging.getLogger(__name__)

TOUCH_EVERY_S = 30.0
SILENCE_S = 600.0
"""Who gave no sign of life for so long, on another machine, is dead."""
LOOK_EVERY_S = 5.0
"""How often a lock that may be of a dead machine is looked at."""
_NAME = re.compile(r"(\d+)-(\d+)\.(.+)\.(\d+)\.lock")


class ShardLock:
    """Holds a range of the shards of a store while the block runs.

    Entering waits for locks that dead machines may have left, until these are silent for ten minutes.

    Args:
        folder: The store's folder.
        shards: The range, in steps of 1.

    Raises:
        StoreError: on entering, when another process holds one of them, or gives a sign of life while it is waited for;
            the message names it.
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
        last_sign: dict[Path, float] = {}
        while True:
            try:
                self._claim()
                return self
            except LeftBehindError as left:
                if left.path not in last_sign:
                    log.warning("%s; waiting for %.0f s at most", left, left.wait_s)
                elif left.last_sign != last_sign[left.path]:
                    raise StoreError(left.owner.refusal(self.folder)) from None
                last_sign[left.path] = left.last_sign
                wait_s = min(LOOK_EVERY_S, left.wait_s)
            time.sleep(wait_s)

    def _claim(self) -> None:
        with guard(self.folder):
            # Claimed first, checked then: where the guard does not reach other machines both are refused, never none.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            if not take_lock(descriptor, self.folder, wait=False):
                os.close(descriptor)
                raise StoreError(self._owner.refusal(self.folder))
            self._descriptor = descriptor
            os.utime(descriptor)  # the file may be one that a dead process with our id left
            try:
                refuse_when_written(self.folder, self.shards, besides=self.path)
            except BaseException:
                self.__exit__(None, None, None)
                raise

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
        StoreError: when one is.
        LeftBehindError: when none is as far as one can see, but another machine left its lock not long ago.
    """
    left_behind = []
    for path in sorted((folder / LOCKS).glob("*.lock")):
        owner = _Owner.of(path.name)
        if owner is None or path == besides or not _overlap(owner.shards, shards):
            continue
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue  # it has ended meanwhile
        try:
            if not take_lock(descriptor, folder, wait=False):
                raise StoreError(owner.refusal(folder))
            last_sign = os.fstat(descriptor).st_mtime
            silent_s = max(0.0, file_time(folder) - last_sign)
            if owner.host != socket.gethostname() and silent_s < SILENCE_S:
                left_behind.append(LeftBehindError(folder, path, owner, last_sign, silent_s))
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
    if left_behind:
        raise max(left_behind, key=lambda left: left.wait_s)


class LeftBehindError(StoreError):
    """The lock of another machine looks free, but its owner may live: not every file system passes locks on.

    Args:
        folder: The store's folder.
        path: The lock.
        owner: Whose it is.
        last_sign: When its owner touched it.
        silent_s: How long ago that was.

    Attributes:
        wait_s: When it has been silent for so much longer, it is dead.
    """

    def __init__(self, folder: Path, path: Path, owner: _Owner, last_sign: float, silent_s: float) -> None:
        super().__init__(
            f"{folder} was locked by process {owner.pid} on {owner.host} ({owner.span}), which gave a sign of life"
            f" {silent_s:.0f} s ago; its shards are free when it is silent for {SILENCE_S / 60:.0f} minutes, or when"
            f" you remove {path}, if you know that it is dead"
        )
        self.path = path
        self.owner = owner
        self.last_sign = last_sign
        self.wait_s = SILENCE_S - silent_s


@dataclass(frozen=True)
class _Owner:
    """Who wrote a lock, as its name says."""

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


def _overlap(first: range, second: range) -> bool:
    return max(first.start, second.start) < min(first.stop, second.stop)

"""One writer a store: a lock that the operating system gives up when its owner dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from dico.store.errors import StoreError


class StoreLock:
    """Holds a lock file while the block runs.

    The file names the owner, for people; what locks it is ``flock``, so that the lock of a process that died is free
    and no process id is mistaken for another. A file left by another machine cannot be told from a live lock, as not
    every network file system passes locks on: it is respected.

    Args:
        path: The lock file.

    Raises:
        StoreError: on entering, when another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> StoreLock:
        while self._descriptor < 0:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._acquire(descriptor)
                # The owner before us may have removed the file between our opening and locking it.
                if self._is_current(descriptor):
                    self._descriptor = descriptor
            finally:
                if self._descriptor < 0:
                    os.close(descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def _acquire(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                owner = _read_owner(descriptor)
                raise StoreError(
                    f"{self.path.parent} is being written by process {owner.get('pid', '?')} on"
                    f" {owner.get('host', 'this machine')}; wait for it to end, or choose another output"
                ) from error
            raise StoreError(
                f"{self.path.parent} lies on a file system without locks ({error.strerror}); choose another output"
            ) from error
        owner = _read_owner(descriptor)
        if owner and owner.get("host") != socket.gethostname():
            raise StoreError(
                f"{self.path.parent} was locked by process {owner.get('pid')} on {owner.get('host')};"
                f" when that run is dead, remove {self.path}"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return self.path.stat().st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False


def _read_owner(descriptor: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}  # being written, or the machine died while it was
    return owner if isinstance(owner, dict) else {}

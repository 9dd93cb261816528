"""The journal: an append-only file of frames that survives being cut anywhere."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dico.atomic import atomic_file

FRAME = struct.Struct("<II")  # length and crc32 of the payload that follows
SYNC_EVERY = 16


class Journal:
    """An open journal, positioned after its last whole frame.

    A frame is handed to the operating system at once, so that nothing is lost when the process dies; every 16 frames it
    is forced to the disk, so that few are lost when the machine does.

    Args:
        path: The file; made when missing. What follows the last whole frame is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = 0
        for payload in read_journal(path):
            whole += FRAME.size + len(payload)
        self._stream = open(path, "ab")  # noqa: SIM115 - lives as long as the journal
        self._stream.truncate(whole)
        self._unsynced = 0

    def append(self, payload: bytes) -> None:
        """Adds one frame.

        Raises:
            ValueError: when ``payload`` is empty.
            OSError: when it cannot be written whole; what was written is cut off when the journal is opened again.
        """
        self._stream.write(_frame(payload))
        self._stream.flush()
        self._unsynced += 1
        if self._unsynced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Forces what was appended to the disk."""
        os.fsync(self._stream.fileno())
        self._unsynced = 0

    def close(self) -> None:
        """Syncs and closes; closing twice does nothing."""
        if not self._stream.closed:
            self.sync()
            self._stream.close()


def write_journal(path: Path, payloads: Iterable[bytes]) -> None:
    """Writes a whole journal, which replaces one that exists in one step."""
    with atomic_file(path) as temporary, open(temporary, "wb") as stream:
        stream.writelines(_frame(payload) for payload in payloads)


def read_journal(path: Path) -> Iterator[bytes]:
    """Yields the payload of each whole frame, up to the first that is torn; nothing when there is no file."""
    try:
        stream = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        return
    with stream:
        while len(head := stream.read(FRAME.size)) == FRAME.size:
            length, checksum = FRAME.unpack(head)
            payload = stream.read(length)
            # Zeros are what some file systems leave at the end of a file when the machine dies.
            if not length or len(payload) < length or zlib.crc32(payload) != checksum:
                return
            yield payload


def _frame(payload: bytes) -> bytes:
    if not payload:
        raise ValueError("payload must not be empty: zeros, which a machine that died may leave, look like that")
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload

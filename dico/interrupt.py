"""Ctrl-C: once to finish what is under way, twice to leave at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STDERR = 2
NOTICE = b"\nStopping after the images under way; press Ctrl-C again to leave at once.\n"


class Interrupt:
    """Turns the first Ctrl-C within the block into a flag; the second raises KeyboardInterrupt as ever.

    Outside the main thread, where signals cannot be handled, it does nothing.

    Attributes:
        requested: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None
        self._handling = False

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
            self._handling = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handling:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        os.write(STDERR, NOTICE)  # print() may be in the middle of a line and cannot be entered twice

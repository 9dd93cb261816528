"""Ctrl-C: once to finish what is under way, twice to leave at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STDERR = 2
SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Of Ctrl-C, and of whoever ends jobs: Kubernetes, SLURM, systemd."""
NOTICE = b"\nStopping after the images under way; press Ctrl-C again to leave at once.\n"


class Interrupt:
    """Turns the first Ctrl-C (or SIGTERM) within the block into a flag; the second raises KeyboardInterrupt as ever.

    Outside the main thread, where signals cannot be handled, it does nothing.

    Args:
        notice: What is said on standard error when it is pressed.
        twice_leaves: Whether the second raises; else it is the flag again, for a process that gets each signal from
            several sides: from the terminal, and from the process that started it.

    Attributes:
        requested: Whether Ctrl-C was pressed.
    """

    def __init__(self, notice: bytes = NOTICE, *, twice_leaves: bool = True) -> None:
        self.requested = False
        self._notice = notice
        self._twice_leaves = twice_leaves
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            if self._twice_leaves:
                raise KeyboardInterrupt
            return
        self.requested = True
        os.write(STDERR, self._notice)  # print() may be in the middle of a line and cannot be entered twice

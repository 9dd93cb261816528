"""Waiting, without leaving whoever looks on in the dark."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

log = logging.getLogger(__name__)

PATIENCE_S = 15.0
"""After so long, the log says what is waited for."""


class Patience:
    """Runs out once, when something has been missing for a while."""

    def __init__(self) -> None:
        self._missing_since = time.monotonic()
        self._ran_out = False

    def runs_out(self, is_missing: bool) -> bool:
        """Whether it does so now.

        Args:
            is_missing: Whether it is missing now.
        """
        now = time.monotonic()
        if not is_missing:
            self._missing_since = now
        if self._ran_out or now < self._missing_since + PATIENCE_S:
            return False
        self._ran_out = True
        return True


@contextmanager
def patiently(message: str) -> Iterator[None]:
    """Logs a message if the block, which can do nothing but wait, takes a while."""
    timer = threading.Timer(PATIENCE_S, log.warning, ("%s", message))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def free_resources(free: Mapping[str, float], whole: Mapping[str, float]) -> str:
    """How much of a cluster waits for work, in words.

    Example:
        >>> free_resources({"CPU": 3.0}, {"CPU": 4.0, "GPU": 1.0})
        '3 of 4 CPUs and 0 of 1 GPUs of the cluster are free'
    """
    parts = [f"{free.get(name, 0):g} of {whole.get(name, 0):g} {name}s" for name in ("CPU", "GPU")]
    return f"{' and '.join(parts)} of the cluster are free"

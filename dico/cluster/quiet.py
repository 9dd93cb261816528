"""Keeps Ray off standard output, and out of the caller's environment and signals."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TextIO, cast

log = logging.getLogger(__name__)

RAY_THREADS = "ray_"
"""What the names of Ray's own threads begin with."""


class _StdoutWithoutRay:
    """Standard output as it was, except for Ray's threads: what they print is logged, for who wants to see it."""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout
        self._log = _LogAsFile()

    def __getattr__(self, name: str) -> object:
        of_ray = threading.current_thread().name.startswith(RAY_THREADS)
        return getattr(self._log if of_ray else self._stdout, name)


class _LogAsFile:
    """Text that is written becomes debugging messages."""

    def write(self, text: str) -> int:
        if text.strip():
            log.debug("%s", text.strip())
        return len(text)

    def flush(self) -> None:
        """Does nothing: nothing is kept back."""


@contextlib.contextmanager
def ray_threads_off_stdout() -> Iterator[None]:
    """Ray's threads do not print within the block.

    Ray announces on standard output what its daemons say of every dead worker, thirty lines for a dead node, and has no
    setting that stops it. What is worth knowing of it is logged by who handles the death.
    """
    with contextlib.redirect_stdout(cast(TextIO, _StdoutWithoutRay(sys.stdout))):
        yield


@contextlib.contextmanager
def logged_stdout() -> Iterator[None]:
    """What Python code prints to standard output within the block, in whatever thread, is logged for debugging."""
    with contextlib.redirect_stdout(_LogAsFile()):
        yield


@contextlib.contextmanager
def restored_sigterm() -> Iterator[None]:
    """SIGTERM does after the block what it did before: Ray takes it over, and others may have a use for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def restored_ray_environment() -> Iterator[None]:
    """Variables whose names begin with RAY_ are after the block what they were before, but for the one of tokens.

    Ray remembers RAY_AUTH_MODE elsewhere in the process, too, and a later connection that finds the two at odds gets no
    answer.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    try:
        yield
    finally:
        kept = before.keys() | {"RAY_AUTH_MODE"}
        for name in [name for name in os.environ if name.startswith("RAY_") and name not in kept]:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if name != "RAY_AUTH_MODE"})

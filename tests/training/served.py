"""The page as a user starts it: a process, and the address that it says."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

TOOL = REPOSITORY / "tools" / "demo.py"
PATIENCE_S = 180


def require_gradio() -> None:
    """Skips where the page cannot be served."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("needs gradio: pip install 'divide-and-conquer[demo]'")


@contextmanager
def served(folder: Path, *arguments: str | Path, tool: Path = TOOL) -> Iterator[tuple[subprocess.Popen[Any], str]]:
    """A page that is served, and where it is; ended with the block.

    Args:
        folder: For its log and its temporary files.
        arguments: Of the command line.
        tool: The script.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / f"{port}.txt"
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, tool, *arguments, "--port", str(port), "--no-browser"]
    with open(log, "ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    address = f"http://127.0.0.1:{port}/"
    until = time.monotonic() + PATIENCE_S
    try:
        while address not in log.read_text():
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        yield process, address
    finally:
        process.terminate()
        process.wait()

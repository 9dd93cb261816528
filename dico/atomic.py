"""Files that appear whole or not at all: written under a temporary name, synced, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; what was written there becomes ``path`` when the block ends well.

    Args:
        path: The file to write; one that exists is replaced in one step. Its folder is made when missing.

    Yields:
        The path to write to. When the block raises, it is removed and ``path`` stays as it was.

    Raises:
        IsADirectoryError: when ``path`` is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"output must be a file, but {path} is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder beside ``path``; it becomes ``path`` when the block ends well.

    Args:
        path: The folder to make; it may exist only when empty.

    Yields:
        The folder to write to. When the block raises, it is removed and ``path`` stays as it was.

    Raises:
        FileExistsError: when ``path`` is a file or a folder that holds something.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(
            f"output must be a new or an empty folder, but {path} exists; remove it or choose another"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        if hasattr(os, "sync"):
            os.sync()  # once for all files: one fsync each would take longer than writing them
        temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _sync(path: Path) -> None:
    if os.name == "nt":
        return  # Windows syncs neither a folder nor a file that is open for reading
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The files of SA-1B's release: archives of 11,186 images each, or folders that they were extracted to."""

from __future__ import annotations

import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from training.data.conversion.preparation import require_file, require_folder

RELEASE_IDS = "sa_images_ids.txt"
"""The release's list of its ids, one a line."""
ARCHIVES = 1_000
_IDS_OF_ARCHIVE = 11_188
_UNSURE = 60
_FILE = re.compile(r"sa_(\d+)\.(jpg|json)")
_ARCHIVE = re.compile(r"sa_\d{6}\.tar(\.gz)?")


@dataclass(frozen=True)
class ReleasedFile:
    """A photograph or a json of the release.

    Attributes:
        image_id: The number in its name.
        suffix: ``jpg`` or ``json``.
        read: Its bytes; of an archive only until the next file is asked for. Raises ValueError when it is damaged.
    """

    image_id: int
    suffix: str
    read: Callable[[], bytes]


def released_files(source: Path) -> Iterator[ReleasedFile]:
    """Yields the photographs and jsons of a folder, of its sub-folders, and of the archives in them.

    Args:
        source: The folder, or one archive. Archives are read from front to back, compressed or not.

    Raises:
        FileNotFoundError: when ``source`` does not exist.
        ValueError: when an archive is damaged.
    """
    if source.is_file():
        yield from _of_archive(source)
        return
    require_folder(source, "a folder of SA-1B's files and archives, or one of its archives", "fetch some of them")
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            if _ARCHIVE.fullmatch(name):
                yield from _of_archive(Path(folder, name))
            elif found := _FILE.fullmatch(name):
                yield ReleasedFile(int(found[1]), found[2], Path(folder, name).read_bytes)


def archives_of(image_id: int) -> tuple[str, ...]:
    """The archive that most likely has an image; two, where the id is near the end of one.

    Ids rise from archive to archive, each of which has some 11,188 (``sa_000020.tar`` begins at 223,750). Where exactly
    the others begin is not published.

    Example:
        >>> archives_of(223_900), archives_of(11_188)
        (('sa_000020.tar',), ('sa_000000.tar', 'sa_000001.tar'))
    """
    near = {(image_id + shift) // _IDS_OF_ARCHIVE for shift in (-_UNSURE, _UNSURE)}
    return tuple(f"sa_{min(max(number, 0), ARCHIVES - 1):06d}.tar" for number in sorted(near))


def read_ids(path: Path) -> Iterator[int]:
    """Yields the ids of a list, one a line; lines that begin with ``#`` are comments.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
        ValueError: when a line is not an id.
    """
    require_file(path, "a list of ids, one a line", "sa1b_1000.txt comes with the project; --ids names another")
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            text = line.strip()
            if text and not text.startswith("#"):
                if not (text.isascii() and text.isdigit()):
                    raise ValueError(f"{path}, line {number}, must be the id of an image, such as 223750, got {text!r}")
                yield int(text)


def _of_archive(path: Path) -> Iterator[ReleasedFile]:
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                found = _FILE.fullmatch(Path(member.name).name)
                if found and member.isfile():
                    yield ReleasedFile(int(found[1]), found[2], partial(_read, path, archive, member))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged, or its download was cut off ({error}); fetch it again") from error


def _read(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        stream = archive.extractfile(member)
        if stream is None:
            raise ValueError(f"{path}: {member.name} is not a file")
        return stream.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged, or its download was cut off ({error}); fetch it again") from error

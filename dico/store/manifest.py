"""The manifest: which images a store is about, and the configuration that labels them."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from dico.atomic import atomic_file
from dico.inputs import path_order
from dico.store.entries import ImageEntries, ImageEntry
from dico.store.errors import StoreError

MANIFEST = "manifest.jsonl"
"""Name of the file in a store's folder."""
FORMAT = "dico-masks"
VERSION = 1
SHARD_SIZE = 256
MISSING = -1
"""Size of a file that could not be looked at when the manifest was made; loading it will say why."""


@dataclass(frozen=True)
class Manifest:
    """What a store is about. Two runs with equal manifests give byte-identical shards.

    Attributes:
        root: Absolute path of the folder that the entries' paths are relative to.
        entries: The images; entry i has index i. Any sequence will do; it is kept as :class:`ImageEntries`.
        config: The resolved configuration, nested and JSON-ready.
        config_hash: A short digest of ``config``.
        shard_size: Images a shard, at least 1.

    Raises:
        ValueError: when the shard size is not positive or the indices do not count from 0.
    """

    root: str
    entries: Sequence[ImageEntry]
    config: Mapping[str, Any]
    config_hash: str
    shard_size: int = SHARD_SIZE

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {self.shard_size}")
        object.__setattr__(self, "entries", ImageEntries.of(self.entries))

    @classmethod
    def of_files(
        cls,
        files: Sequence[str | Path],
        *,
        config: Mapping[str, Any],
        config_hash: str,
        root: Path | None = None,
        shard_size: int = SHARD_SIZE,
    ) -> Manifest:
        """A manifest of image files, sorted by path, each once.

        Args:
            files: Image files in any order; they need not exist.
            config: The resolved configuration, nested and JSON-ready.
            config_hash: A short digest of ``config``.
            root: The folder that holds all files; by default the deepest one that does.
            shard_size: Images a shard.

        Returns:
            The manifest, with each file's size as it is now.

        Raises:
            ValueError: when there is no file, or one lies outside ``root``.
        """
        if not files:
            raise ValueError("files must be at least one image, got none")
        # Strings, as a Path takes four times the memory; abspath, as resolve() would follow links.
        absolute = sorted({os.path.abspath(file) for file in files}, key=path_order)  # noqa: PTH100
        folders = {os.path.dirname(file) for file in absolute}  # noqa: PTH120
        base = os.path.commonpath(folders) if root is None else os.path.abspath(root)  # noqa: PTH100
        inside = base if base.endswith(os.sep) else base + os.sep
        for file in absolute:
            if not file.startswith(inside):
                raise ValueError(f"files must lie in {base}, got {file}")
        names = (file.removeprefix(inside).replace(os.sep, "/") for file in absolute)
        entries = ImageEntries(names, map(_size, absolute))
        return cls(os.path.realpath(base), entries, config, config_hash, shard_size)

    @property
    def shards(self) -> int:
        """How many shards the images fill."""
        return -(-len(self.entries) // self.shard_size)

    def shard_indices(self, shard: int) -> range:
        """The indices of the images of one shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, len(self.entries)))

    def differences(self, other: Manifest) -> list[str]:
        """What ``other`` has that this (stored) manifest does not, a line each; empty when they are the same job."""
        lines = list(config_differences(self.config, other.config, "in the store", "now"))
        if self.entries != other.entries:
            lines += _entry_differences(self.entries, other.entries)
        if self.shard_size != other.shard_size:
            lines.append(f"shard size: {self.shard_size} in the store, {other.shard_size} now")
        if self.root != other.root:
            lines.append(f"folder of the images: {self.root} in the store, {other.root} now")
        return lines

    def resized(self, other: Manifest) -> list[int] | None:
        """Indices of the images that have another size in ``other``; None when anything but sizes differs."""
        mine, others = ImageEntries.of(self.entries), ImageEntries.of(other.entries)
        if not mine.same_paths(others) or replace(self, entries=others).differences(other):
            return None
        return mine.resized(others)

    def header(self) -> dict[str, Any]:
        """What the first line of the file says: the job, with a digest of its images. JSON-ready."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "root": self.root,
            "images": len(self.entries),
            "images_sha256": ImageEntries.of(self.entries).sha256(),
            "shard_size": self.shard_size,
            "config_hash": self.config_hash,
            "config": self.config,
        }

    def is_in(self, path: Path) -> bool:
        """Whether the file at ``path`` is this manifest; reads its first line only."""
        with open(path, encoding="utf-8") as stream:
            stored = json.loads(next(stream, "{}"))
        # A store of an earlier release has no digest.
        mine = {key: value for key, value in self.header().items() if key in stored}
        return bool(stored == json.loads(json.dumps(mine)))

    def write(self, path: Path) -> None:
        """Writes the manifest: a line of JSON for the job, then a line for each image."""
        with atomic_file(path) as temporary, open(temporary, "w", encoding="ascii") as stream:
            stream.write(json.dumps(self.header()) + "\n")
            stream.writelines(f"[{json.dumps(name)}, {size}]\n" for name, size in ImageEntries.of(self.entries).pairs())

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest in a file.

        Raises:
            FileNotFoundError: when there is none.
            StoreError: when it is damaged or of another version.
        """
        try:
            with open(path, encoding="utf-8") as stream:
                header = json.loads(next(stream, ""))
                if header["format"] != FORMAT or header["version"] != VERSION:
                    raise StoreError(
                        f"{path} must be a {FORMAT} manifest of version {VERSION}, got {header['format']} of version"
                        f" {header['version']}; read it with the release of dico that wrote it"
                    )
                entries = _read_entries(stream)
            if len(entries) != header["images"]:
                raise StoreError(f"{path} must list {header['images']} images, got {len(entries)}: it was cut short")
            if header.get("images_sha256", entries.sha256()) != entries.sha256():
                raise StoreError(f"{path} is damaged: its images are not those that were written (SHA-256 differs)")
            return cls(header["root"], entries, header["config"], header["config_hash"], header["shard_size"])
        except StoreError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is not the manifest of a store, or is damaged ({error})") from error


def _read_entries(lines: Iterator[str]) -> ImageEntries:
    sizes = array("q")

    def paths() -> Iterator[str]:
        # Many lines at a time: one call of the parser a line takes three times as long.
        while block := list(islice(lines, 1000)):
            for path, size in json.loads(f"[{','.join(block)}]"):
                sizes.append(size)
                yield path

    return ImageEntries(paths(), sizes)


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116
    except OSError:
        return MISSING


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def config_differences(first: Mapping[str, Any], second: Mapping[str, Any], where: str, there: str) -> Iterator[str]:
    """Yields what differs between two configurations, a line each, which names them as ``where`` and ``there``."""
    before, after = dict(_flat(first)), dict(_flat(second))
    for key in sorted(before.keys() | after.keys()):
        if key not in before or key not in after or before[key] != after[key]:
            values = [json.dumps(side[key]) if key in side else "absent" for side in (before, after)]
            yield f"{key}: {values[0]} {where}, {values[1]} {there}"


def _entry_differences(stored: Sequence[ImageEntry], now: Sequence[ImageEntry]) -> Iterator[str]:
    before = {entry.path: entry.bytes for entry in stored}
    after = {entry.path: entry.bytes for entry in now}
    yield from _named("added", [path for path in after if path not in before])
    yield from _named("removed", [path for path in before if path not in after])
    yield from _named("changed in size", [path for path in after if before.get(path, after[path]) != after[path]])


def _named(what: str, paths: list[str]) -> Iterator[str]:
    if paths:
        more = ", ..." if len(paths) > 3 else ""
        yield f"{len(paths)} {'image' if len(paths) == 1 else 'images'} {what}: {', '.join(paths[:3])}{more}"

"""A row of a store: what became of one image. Rows are lines of JSON; equal masks give equal bytes."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from dico.masks import MaskSet
from dico.store.entries import ImageEntry
from dico.store.errors import StoreError

FailureKind = Literal["decode", "error", "crash", "timeout", "memory"]
"""``decode``: not a usable image; ``memory``: did not fit; ``error``: anything else that was raised; ``crash``: workers
died of it, as often as ``--max-crashes`` says, or ten machines were lost with it; ``timeout``: it took too long."""

# How every row of a store begins: its key is read from there, as the masks behind it are thousands of times longer.
_HEAD = re.compile(rb'\{"index":(?P<index>\d+),"path":(?P<path>"(?:[^"\\]|\\.)*"),"status":"(?P<status>done|failed)"')


@dataclass(frozen=True)
class LabelRow:
    """One image of a store and what became of it.

    Attributes:
        index: The image's index in the manifest.
        path: Relative to the manifest's root.
        status: ``"done"`` or ``"failed"``.
        kind: Why it failed, or None when it did not.
        masks: Its masks, or None when it failed.
    """

    index: int
    path: str
    status: Literal["done", "failed"]
    kind: FailureKind | None
    masks: MaskSet | None


@dataclass(frozen=True)
class Failure:
    """The story of an image that failed.

    Attributes:
        index: The image's index in the manifest.
        path: Relative to the manifest's root.
        kind: As in :class:`LabelRow`.
        error: Type and message of what was raised.
        traceback: The last lines of its traceback.
        attempts: How often the image was tried.
    """

    index: int
    path: str
    kind: FailureKind
    error: str
    traceback: str = ""
    attempts: int = 1


def encode_row(entry: ImageEntry, masks: MaskSet) -> bytes:
    """The row of an image that was labelled: one line of JSON, the same bytes wherever it is made."""
    return _line({"index": entry.index, "path": entry.path, "status": "done", "masks": masks.to_dict()})


def encode_failed_row(failure: Failure) -> bytes:
    """The row of an image that failed: only the kind, as messages and tracebacks differ between machines."""
    return _line({"index": failure.index, "path": failure.path, "status": "failed", "kind": failure.kind})


def encode_failure(failure: Failure) -> bytes:
    """The line of ``failures.jsonl`` of one failure."""
    return _line(asdict(failure))


def decode_failure(line: bytes) -> Failure:
    """The failure that :func:`encode_failure` wrote.

    Raises:
        ValueError: when the line is damaged.
    """
    try:
        return Failure(**json.loads(line))
    except TypeError as error:
        raise ValueError(f"line is not a failure: {line[:80]!r}") from error


def row_key(line: bytes) -> tuple[int, bool]:
    """The index of a row and whether it failed."""
    if match := _HEAD.match(line):
        return int(match["index"]), match["status"] == b"failed"
    row = json.loads(line)
    return row["index"], row["status"] == "failed"


def moved_row(line: bytes, entry: ImageEntry) -> bytes:
    """The row under another index and path; the rest of it stays, byte for byte."""
    match = _HEAD.match(line)
    if match is None:
        return _line({**json.loads(line), "index": entry.index, "path": entry.path})
    return _line({"index": entry.index, "path": entry.path})[: -len(b"}\n")] + line[match.end("path") :]


def decode_row(line: bytes) -> LabelRow:
    """The row in one line of a shard.

    Raises:
        StoreError: when the line is damaged.
    """
    try:
        row = json.loads(line)
        if row["status"] == "done":
            return LabelRow(row["index"], row["path"], "done", None, MaskSet.from_dict(row["masks"]))
        if row["status"] != "failed" or row["kind"] not in get_args(FailureKind):
            raise ValueError(f"status must be done, or failed of a known kind, got {row['status']!r}")
        return LabelRow(row["index"], row["path"], "failed", row["kind"], None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"row {line[:60]!r}... is damaged: {error!r}") from error


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"

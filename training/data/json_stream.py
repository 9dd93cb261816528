"""Large JSON files read in parts: where their sections lie, and the elements of an array one at a time.

A file of a million annotations is 10 GB as Python objects and 1 GB as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

# Every byte is one character, so that places in the text are places in the file; JSON's own signs are the same.
_BYTES = "latin-1"
_SPACE = re.compile(r"[ \t\n\r]*")


def read_text(path: Path) -> str:
    """The text of a file, a character for each byte: what the other functions of this file take.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
    """
    with open(path, encoding=_BYTES, newline="") as stream:
        return stream.read()


def decoded(part: str) -> Any:
    """The value of a part of such a text; what is not ASCII is right in it, as it is not in those of :func:`elements`.

    Raises:
        json.JSONDecodeError: when the part is not one value.

    Example:
        >>> decoded('"caf\u00c3\u00a9"')
        'café'
    """
    return json.loads(part.encode(_BYTES))


def sections(text: str, wanted: Collection[str]) -> dict[str, int]:
    """Where the values of the outermost object's keys begin.

    Args:
        text: Of :func:`read_text`.
        wanted: Keys: what follows the last of them is not looked at, and may be absent from the answer.

    Raises:
        json.JSONDecodeError: when the text is not a JSON object.

    Example:
        >>> sections('{"a": [1, 2], "b": 3}', ["a", "b"])
        {'a': 6, 'b': 19}
    """
    found: dict[str, int] = {}
    at = _after(text, "{", _skip(text, 0))
    while not text.startswith("}", at):
        key, at = json.JSONDecoder().raw_decode(text, at)
        at = _after(text, ":", _skip(text, at))
        found[str(key)] = at
        if set(wanted) <= found.keys():
            break  # the last of them is not read twice
        at = _skip(text, _end(text, at))
        if not text.startswith("}", at):
            at = _after(text, ",", at)
    return found


def elements(text: str, at: int) -> Iterator[tuple[Any, int, int]]:
    """Yields the elements of the array that begins at a place, each with where it begins and ends.

    Raises:
        json.JSONDecodeError: when there is no array, or one that is cut off.

    Example:
        >>> list(elements('[1, "b"]', 0))
        [(1, 1, 2), ('b', 4, 7)]
    """
    decoder = json.JSONDecoder()
    at = _after(text, "[", at)
    while not text.startswith("]", at):
        start = at
        value, at = decoder.raw_decode(text, start)
        yield value, start, at
        at = _skip(text, at)
        if not text.startswith("]", at):
            at = _after(text, ",", at)


def _end(text: str, at: int) -> int:
    """Where the value that begins at a place ends; an array is not in memory as a whole."""
    if not text.startswith("[", at):
        return json.JSONDecoder().raw_decode(text, at)[1]
    end = _after(text, "[", at)
    for _, _, end in elements(text, at):  # noqa: B007 - the last is meant
        pass
    return _after(text, "]", _skip(text, end))


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _after(text: str, sign: str, at: int) -> int:
    """The next place that is not space after a sign, which must be there."""
    if not text.startswith(sign, at):
        raise json.JSONDecodeError(f"expecting {sign!r}", text[max(0, at - 20) : at + 20], min(at, 20))
    return _skip(text, at + 1)

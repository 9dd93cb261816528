"""What converters of data sets share: a source that is complete, or a list of what it lacks; and their exit codes."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

_LISTED = 10
_INTERRUPTED = 130  # as shells have it


def require_file(path: Path, what: str, remedy: str) -> None:
    """Does nothing when a file is there that somebody named, perhaps with a slip of the pen.

    Args:
        path: The file.
        what: What it must be.
        remedy: What to do when it is not there, a sentence without its full stop.

    Raises:
        FileNotFoundError: when it is not there, or is a folder.
    """
    if not path.is_file():
        raise FileNotFoundError(_absent(path, "file", what, remedy))


def require_folder(path: Path, what: str, remedy: str) -> None:
    """Likewise of a folder."""
    if not path.is_dir():
        raise FileNotFoundError(_absent(path, "folder", what, remedy))


def _absent(path: Path, kind: str, what: str, remedy: str) -> str:
    if path.exists():
        wrong = f"{path} is a {'folder' if path.is_dir() else 'file'}, not a {kind}"
    else:
        wrong = f"there is no {kind} {path}{_slip(path)}"
    return f"{wrong}. It must be {what}; {remedy}"


def _slip(path: Path) -> str:
    """Where a path goes wrong: at a folder that is not there, or at a name of which there is one like it."""
    whole = path.absolute()
    first = next((one for one in (*reversed(whole.parents), whole) if not one.exists()), whole)
    if not first.parent.is_dir():
        return f" ({first.parent} is a file, not a folder)"
    there = (one.name for one in first.parent.iterdir() if one.exists())  # a link that leads nowhere is not
    near = difflib.get_close_matches(first.name, there, n=1)
    clues = [f"nor a folder {first}"] if first != whole else []
    clues += [f"did you mean {first.parent / near[0]}?"] if near else []
    return f" ({'; '.join(clues)})" if clues else ""


def require_files(folder: Path, names: Iterable[str], remedy: str) -> None:
    """Does nothing when a folder has all of the files.

    Args:
        folder: The folder.
        names: Paths from there.
        remedy: What to do when files are missing, a sentence without its full stop.

    Raises:
        FileNotFoundError: when it lacks some; how many, and the first of them.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        require_folder(folder, "the folder of the images", remedy)
        raise FileNotFoundError(f"{folder} lacks {len(missing):,} images; {remedy}:{listed(missing)}")


def listed(faults: Sequence[str]) -> str:
    """The first few of them, a line each, and how many more there are.

    Example:
        >>> print("missing:" + listed(["a.jpg", "b.jpg"]))
        missing:
          a.jpg
          b.jpg
    """
    more = f"\n  ... and {len(faults) - _LISTED:,} more" if len(faults) > _LISTED else ""
    return "".join(f"\n  {fault}" for fault in faults[:_LISTED]) + more


def require_count(found: int, least: int, source: Path, what: str = "images") -> None:
    """Does nothing when a source has as many images as were published.

    Args:
        found: How many it has.
        least: How many it must have.
        source: What has them.
        what: What is counted.

    Raises:
        ValueError: when it has fewer.
    """
    if found < least:
        raise ValueError(
            f"{source} has {found:,} {what}, fewer than the {least:,} that it must have: it is another file, or not "
            "complete; fetch it again (--expect takes fewer, for figures of one's own)"
        )


def run_converter(name: str, prepare: Callable[[], str]) -> int:
    """The exit code of a converter, whose summary or error is printed on standard error.

    Args:
        name: What lines begin with.
        prepare: Converts; returns the summary.

    Returns:
        0 when the annotations are written, 1 when they were not, as the source is damaged or incomplete, 130 when
        Ctrl-C stopped it.
    """
    try:
        summary = prepare()
    except KeyboardInterrupt:
        print(f"{name}: stopped; no annotations were written", file=sys.stderr)
        return _INTERRUPTED
    except (OSError, ValueError) as error:
        print(f"{name}: no annotations were written: {error}", file=sys.stderr)
        return 1
    print(f"{name}: {summary}", file=sys.stderr)
    return 0

"""How a command that fills a store ends: what it says on standard error, and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from dico.cli import WRONG_USAGE, message_of
from dico.label_command import DONE, INTERRUPTED, SOME_FAILED
from dico.run_summary import RunSummary


def run_command(prog: str, fill: Callable[[], RunSummary], *, quiet: bool) -> int:
    """Does a run, and tells how it went.

    Args:
        prog: What the command is called in what it says.
        fill: Fills the store, or goes on filling it.
        quiet: Says nothing of a run that was done.

    Returns:
        The exit code: 0 done, 1 some images failed, 2 wrong usage, 130 interrupted.
    """
    try:
        summary = fill()
    except KeyboardInterrupt:
        print(f"{prog}: left at once; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        print(f"{prog}: error: {message_of(error)}", file=sys.stderr)
        return WRONG_USAGE
    if not quiet:
        print("\n".join(f"{prog}: {line}" for line in summary.sentence().splitlines()), file=sys.stderr)
    if summary.interrupted:
        return INTERRUPTED
    return SOME_FAILED if summary.failed_in_store else DONE

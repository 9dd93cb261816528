"""What the command lines have in common: how they end when something is wrong."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from dico.cli import WRONG_USAGE, message_of
from dico.executors import WorkerError
from dico.label_command import INTERRUPTED


def exit_code(
    prog: str, work: Callable[[], int], *, when_stopped: str = "", also: tuple[type[Exception], ...] = ()
) -> int:
    """Does the work of a command line; what users can mend is told on standard error in a line.

    Args:
        prog: What that line begins with; that of a warning, too.
        work: Reads the arguments and does what they say; returns the exit code.
        when_stopped: What is told after Ctrl-C; empty for nothing.
        also: Further errors whose message is enough.

    Returns:
        That of the work; 2 for wrong usage or what cannot work, 130 for Ctrl-C.
    """
    mendable: tuple[type[Exception], ...] = (ValueError, TypeError, KeyError, OSError, ImportError, WorkerError, *also)
    logging.basicConfig(format=f"{prog}: %(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return work()
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    except KeyboardInterrupt:
        if when_stopped:
            print(f"{prog}: {when_stopped}", file=sys.stderr)
        return INTERRUPTED
    except mendable as error:
        print(f"{prog}: error: {message_of(error)}", file=sys.stderr)
        return WRONG_USAGE

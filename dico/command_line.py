"""What the command lines have in common: numbers in their arguments, and how they end, well or not."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dico.run_summary import RunSummary

DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last is that of shells."""


def positive(text: str) -> int:
    """The number in an argument, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


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
        That of the work; 1 when nobody reads on what it prints, 2 for wrong usage or what cannot work, 130 for Ctrl-C.
    """
    mendable: tuple[type[Exception], ...] = (ValueError, TypeError, KeyError, OSError, ImportError, *also)
    logging.basicConfig(format=f"{prog}: %(levelname)s: %(message)s", level=logging.WARNING)
    try:
        return work()
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    except KeyboardInterrupt:
        if when_stopped:
            print(f"{prog}: {when_stopped}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads what is printed has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except mendable as error:
        message = _message_of(error)
    except RuntimeError as error:
        message = _message_of_runtime(error)
        if not message:
            raise
    print(f"{prog}: error: {message}", file=sys.stderr)
    return WRONG_USAGE


def exit_code_of_run(prog: str, summary: RunSummary, *, quiet: bool) -> int:
    """The exit code of a run over images, of which standard error is told.

    Args:
        prog: What lines begin with.
        summary: Of the run.
        quiet: Tells nothing.

    Returns:
        0 when all images of the store are done, 1 when some failed, 130 when the run was interrupted.
    """
    if not quiet:
        print("\n".join(f"{prog}: {line}" for line in summary.sentence().splitlines()), file=sys.stderr)
    if summary.interrupted:
        return INTERRUPTED
    return SOME_FAILED if summary.failed_in_store else DONE


def _message_of(error: Exception) -> str:
    """What an error says, as people read it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _message_of_runtime(error: RuntimeError) -> str:
    """What one that users can mend says; empty for others, of which a traceback is needed."""
    from dico.executors import WorkerError  # takes a second, which no command should wait for that ends well

    if "no locator available" in str(error):  # numba's words
        return (
            "compiled loops have nowhere to be kept, as neither the package nor the home folder can be written; set"
            " NUMBA_CACHE_DIR to a folder that can"
        )
    return str(error) if isinstance(error, WorkerError) else ""

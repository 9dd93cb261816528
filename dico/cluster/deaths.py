"""What Ray's messages about dead actors mean for the task that an actor died with. Knows texts only, not Ray.

Ray has one exception for most deaths, and says what happened in its message alone. Seen with Ray 2.60:

- SIGSEGV, SIGKILL and ``os._exit`` look the same: "connection error code 2";
- ``sys.exit`` and SIGTERM come with an exit code;
- a node that is shut down in good order is in the message: "its node has died";
- a node that is lost at once is not: the actor is "unavailable" after two seconds, and only after another twelve does
  the cluster know more. Whether the node still listens is the faster question.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

from dico.executors.process import TAIL_BYTES
from dico.task import TRACEBACK_LINES, Lost

LOW_MEMORY = "running low on memory"
NOTES_OF_RAY = (":job_id:", ":actor_name:")
"""How lines begin in which Ray notes, in a worker's standard error, whose process it is."""


def died_with_its_node(message: str) -> bool:
    """Whether Ray says that the node went away, and not the actor alone.

    Example:
        >>> died_with_its_node("The actor died because its node has died. Node Id: 0ce4")
        True
    """
    return "node has died" in message or "node was terminated" in message


def lost_of(message: str, words: str, *, blameless: bool = False) -> Lost:
    """The outcome of a task whose worker died alone.

    Args:
        message: Ray's.
        words: The last that it wrote to standard error.
        blameless: Whether the worker had not begun the task.
    """
    reason = reason_of(message, words)
    return Lost(reason, words, blameless=blameless, kind="memory" if LOW_MEMORY in message else "crash")


def reason_of(message: str, words: str = "") -> str:
    """What a worker died of, as the end of "its worker was ...".

    Args:
        message: Ray's.
        words: The last that it wrote to standard error; Ray has it write down signals.

    Example:
        >>> reason_of("Worker exits with an exit code 3.")
        'stopped with exit code 3'
    """
    if LOW_MEMORY in message:
        return "killed by Ray, as the memory of its machine ran low; fewer --num-workers need less"
    if "SIGTERM" in message:
        return "killed by SIGTERM"
    if exit_code := re.search(r"exit code (-?\d+)", message):
        return f"stopped with exit code {exit_code[1]}"
    if signal := re.search(r"\*\*\* (SIG\w+) received", words):
        return f"killed by {signal[1]}"
    if "connection error" in message:
        return "killed: by a crash, by os._exit, or by the system when memory ran out (Ray does not say which)"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return f"lost: {lines[-1] if lines else 'Ray does not say why'}"


def last_words(host: str, stderr: str) -> str:
    """The end of what a worker wrote to standard error, or where to find it.

    Args:
        host: The machine that it was on.
        stderr: The file that Ray kept there for it; empty when there is none.
    """
    if not stderr:
        return ""
    try:
        if host == socket.gethostname():
            lines = Path(stderr).read_bytes()[-TAIL_BYTES:].decode(errors="replace").splitlines()
            return "\n".join([line for line in lines if not line.startswith(NOTES_OF_RAY)][-TRACEBACK_LINES:]).strip()
    except OSError:  # another container of the same name, or cleared away
        pass
    return f"what it wrote is in {stderr} on {host}"


def lost_with_node(host: str) -> Lost:
    """The outcome of a task whose worker went away together with its machine."""
    return Lost(f"lost with its machine{f' {host}' if host else ''}", blameless=True)

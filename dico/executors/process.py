"""One worker process, seen from its parent: started, spoken to, listened to, killed, and what it died of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from fcntl import F_GETFL, F_SETFL, fcntl
from multiprocessing.connection import Pipe
from typing import IO

from dico.executors.supervisor import Event
from dico.executors.worker import NO_FEATURES
from dico.task import TRACEBACK_LINES, Lost, Task
from dico.threads import ENVIRONMENT

# The parent's search path is there before anything of ours is imported, which may be found through it alone.
START = "import sys; sys.path[:] = sys.argv[6:]; from dico.executors.worker import main; main(*map(int, sys.argv[1:6]))"
TAIL_BYTES = 16_384


class WorkerProcess:
    """A worker in a process of its own, and in a process group of its own with all that it starts.

    What it prints goes into a file without a name: a pipe would have to be read all the time, and what a labeler
    prints must not end up in the output of the program.

    Args:
        number: By which the parent knows it.
        job: File descriptor of a file that holds the pickled job; stays open here.
        features: File descriptor of a connection to a feature server; None for none. The caller closes it.

    Attributes:
        channel: The connection to it, to wait for.

    Raises:
        OSError: when no process can be started.
    """

    def __init__(self, number: int, job: int, features: int | None = None) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - as long as the process
        # Emptied between tasks, it has to be written at its end, wherever that is by then.
        fcntl(self._output, F_SETFL, fcntl(self._output, F_GETFL) | os.O_APPEND)
        self.channel, theirs = Pipe()
        passed = [theirs.fileno(), job, NO_FEATURES if features is None else features]
        numbers = [str(value) for value in (number, os.getpid(), *passed)]
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-c", START, *numbers, *search_path()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env=os.environ | ENVIRONMENT,
                pass_fds=[descriptor for descriptor in passed if descriptor != NO_FEATURES],
                process_group=0,
            )
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def give(self, task: Task) -> None:
        """Gives it a task; if it is dead, nothing happens here and :meth:`receive` will tell."""
        with suppress(OSError):
            self.channel.send(task)

    def receive(self) -> Event | None:
        """What it has to say, once the channel is readable; None when it closed the channel."""
        try:
            event: Event = self.channel.recv()
        except (EOFError, OSError):
            return None
        self._output.truncate(0)  # what belongs to a finished task tells nothing of a later death
        return event

    def is_gone(self) -> bool:
        """Whether the process has ended; something that it started may still hold the channel open."""
        return self._popen.poll() is not None

    def lost(self) -> Lost:
        """What a process that is gone died of."""
        return Lost(_reason(self._popen.wait()), self.tail())

    def tail(self) -> str:
        """The last lines that it wrote."""
        size = os.fstat(self._output.fileno()).st_size
        end = os.pread(self._output.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))
        return "\n".join(end.decode(errors="replace").splitlines()[-TRACEBACK_LINES:])

    def kill(self) -> None:
        """Kills it and what it started, and closes what is open of it here; when it is gone, :meth:`is_gone` tells."""
        # macOS says that it is not allowed when all that is left is a process whose end nobody asked for yet.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        self.channel.close()
        self._output.close()


def search_path() -> tuple[str, ...]:
    """Where this process finds modules: workers must find them, too."""
    return tuple(entry for entry in sys.path if isinstance(entry, str))


def _reason(code: int) -> str:
    if code >= 0:
        return f"stopped with exit code {code}"
    if code == -signal.SIGKILL:
        return "killed by SIGKILL (if not by you: the machine may have run out of memory; try fewer --num-workers)"
    return f"killed by {signal.Signals(-code).name}"

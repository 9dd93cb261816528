"""What runs in a worker process: makes the work of a job, then does one task after the other.

It is started by :mod:`dico.executors.process` with nothing but numbers of open files; the interpreter is a fresh one.
That is not multiprocessing's ``spawn``, which runs the caller's ``__main__`` again: it fails in notebooks, surprises in
scripts without a guard, and has imported numpy before anyone can say how many threads it may have.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from multiprocessing.connection import Connection

from dico.executors.remote_extractor import RemoteExtractor
from dico.executors.supervisor import Broken, Done, Ready
from dico.job import Job
from dico.task import Work
from dico.threads import limit_threads

NO_FEATURES = -1
"""In place of the connection to a feature server, when there is none."""
PR_SET_PDEATHSIG = 1
REMEDY = "a labeler that other processes are to use must be defined in a module that they can import; or use inline"


def main(number: int, parent: int, channel: int, job: int, features: int) -> None:
    """Works until the parent closes the connection or dies.

    Args:
        number: Of this worker.
        parent: Process that must stay alive.
        channel: File descriptor of the connection to it.
        job: File descriptor of a file with the pickled job.
        features: File descriptor of the connection to a feature server, or NO_FEATURES.
    """
    # Ctrl-C and the end of a batch job reach every process, and the parent decides what follows from them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(parent)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    connection = _connection(channel)
    try:
        work = _make_work(_unpickled(job), features)
    except Exception as error:  # whatever it is: no worker could do better, and the parent is to know
        connection.send(Broken(number, story_of(error)))
        return
    limit_threads()
    connection.send(Ready(number))
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(Done(number, work(task)))


def _connection(descriptor: int) -> Connection:
    os.set_inheritable(descriptor, False)  # what a labeler starts must not keep it open
    return Connection(descriptor)


def _unpickled(descriptor: int) -> Job:
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as pickled:
            job: Job = pickle.loads(pickled)
    except (AttributeError, ImportError, pickle.UnpicklingError) as error:
        raise ValueError(f"the job cannot be read in a worker process ({error}): {REMEDY}") from error
    finally:
        os.close(descriptor)
    return job


def _make_work(job: Job, features: int) -> Work:
    return job.work() if features == NO_FEATURES else job.work(RemoteExtractor(_connection(features)))


def story_of(error: Exception) -> str:
    """A sentence for what users can mend, as the command line has it; the whole traceback for the rest."""
    if isinstance(error, (ValueError, TypeError, ImportError, OSError)):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()


def _die_with(parent: int) -> None:
    """Has this process killed when its parent dies, also by SIGKILL and in the middle of compiled code.

    Linux does it, when the thread that started this process ends; elsewhere a thread checks now and then.
    """
    if sys.platform != "linux" or ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    elif os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

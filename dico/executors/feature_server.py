"""Few extractors, on a GPU each, that serve many workers of this machine.

A worker that waits for features does nothing else, so there are never more requests under way than workers: that is
the bounded window between the two stages. While a GPU works on one image, the cores work on others.

A request is answered by itself and never merged with one of another worker. What goes through the network together is
therefore a matter of the image alone (its crops, in batches of ``extractor.batch_size``) and never of who came first,
and the bits of the features, which change with the batch, are the same for any number of workers and extractors.
"""

from __future__ import annotations

import pickle
import socket
import threading
import traceback
from multiprocessing.connection import Connection, Pipe, wait

from threadpoolctl import threadpool_limits

from dico.executors.base import WorkerError
from dico.executors.remote_extractor import Answer, Request
from dico.features.base import Extractor
from dico.job import Job


class FeatureServer:
    """Serves until the ``with`` block ends: a thread of this process for each device.

    Args:
        job: Shares its extractor; it makes one for each of its devices.

    Raises:
        Exception: whatever the job raises when it makes them.
    """

    def __init__(self, job: Job) -> None:
        self._threads = [_ExtractorThread(job.extractor(device), device) for device in job.devices()]

    def __enter__(self) -> FeatureServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.stop()

    def connect(self) -> int:
        """A file descriptor for a new client, which is served by the extractor with the fewest of them.

        Raises:
            WorkerError: as :meth:`check` does.
        """
        self.check()
        return min(self._threads, key=lambda thread: thread.num_clients).connect()

    def check(self) -> None:
        """Does nothing while all extractors can serve.

        When one cannot, this is known before any of its clients finds out.

        Raises:
            WorkerError: when one of them can serve no more, with the reason.
        """
        for thread in self._threads:
            thread.check()


class _ExtractorThread:
    """One extractor, the thread that owns it, and its clients."""

    def __init__(self, extractor: Extractor, device: str) -> None:
        self._extractor = extractor
        self._device = device
        self._clients: list[Connection] = []
        # The thread waits for requests; a message here has it look for new clients, and the closed end has it stop.
        self._woken, self._wake_up = Pipe(duplex=False)
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"features on {device}", daemon=True)

    @property
    def num_clients(self) -> int:
        return len(self._clients)

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        if self._failure is not None:
            raise WorkerError(self._failure)

    def connect(self) -> int:
        ours, theirs = socket.socketpair()
        client = Connection(ours.detach())
        self._clients.append(client)
        try:
            self._wake_up.send_bytes(b"a new client")
        except OSError:  # the thread ends just now
            self._thread.join()
            client.close()
            theirs.close()
            self.check()
            raise
        return theirs.detach()

    def stop(self) -> None:
        self._wake_up.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            threadpool_limits(1)  # as a worker with an extractor of its own; OpenMP counts by thread
            self._serve()
        except WorkerError as error:
            self._failure = str(error)
        except BaseException as error:  # whatever it is, it must not be blamed on the images of those who wait
            story = "".join(traceback.format_exception(error)).strip()
            self._failure = f"the thread that extracts features on {self._device} ended:\n{story}"
        finally:
            self._woken.close()
            for client in self._clients:
                client.close()

    def _serve(self) -> None:
        while True:
            # The list itself grows meanwhile, in another thread.
            for connection in wait([self._woken, *self._clients]):
                if connection is self._woken:
                    try:
                        self._woken.recv_bytes()
                    except EOFError:
                        return
                elif isinstance(connection, Connection) and not self._answer(connection):
                    self._clients.remove(connection)
                    connection.close()

    def _answer(self, client: Connection) -> bool:
        """Answers one request; False when the client is gone."""
        try:
            request: Request = client.recv()
            client.send(self._features(request))
        except (EOFError, OSError):
            return False
        return True

    def _features(self, request: Request) -> Answer:
        try:
            return self._extractor.extract(request.images, size=request.size)
        except Exception as error:  # whatever it is, it is that image's failure and not the end of the others
            if device_is_lost(error):
                raise WorkerError(
                    f"{self._device} is of no more use to this process ({str(error).splitlines()[0]}); the same"
                    " command goes on where this one stopped"
                ) from error
            return portable(error)


def device_is_lost(error: Exception) -> bool:
    """Whether a GPU is of no more use to the process that got this error: every call from here on would fail.

    Memory that was short, in which case the message may begin alike, can be there for the next image.
    """
    message = str(error)
    return "CUDA error" in message and not any(words in message for words in ("out of memory", "ALLOC_FAILED"))


def portable(error: Exception) -> Exception:
    """The error as another process can raise it, one that need not have torch; a note holds the traceback."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's own, a RuntimeError
        error = MemoryError(f"{error}; a smaller extractor.batch_size or extractor.size needs less").with_traceback(
            error.__traceback__
        )
    story = "".join(traceback.format_exception(error)).strip()
    plain = type(error).__module__ == "builtins"
    carried = error if plain and _survives_pickling(error) else RuntimeError(story.splitlines()[-1])
    carried.add_note(f"where features are extracted:\n{story}")
    return carried


def _survives_pickling(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # classes may raise whatever they like here
        return False

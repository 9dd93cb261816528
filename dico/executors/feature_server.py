"""Few extractors, on a GPU each, that serve many workers of this machine.

A worker that waits for features does nothing else, so there are never more requests under way than workers: that is
the bounded window between the two stages. While a GPU is at one image, the cores are at others.

A request is answered by itself and never merged with one of another worker. What goes through the network together is
therefore a matter of the image alone (its crops, in lots of ``extractor.batch_size``) and never of who came first,
and the bits of the features, which change with the batch, are the same for any number of workers and extractors.
"""

from __future__ import annotations

import pickle
import socket
import threading
import traceback
from multiprocessing.connection import Connection, Pipe, wait

from threadpoolctl import threadpool_limits

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
        self._desks = [_Desk(job.extractor(device), name=f"features on {device}") for device in job.devices()]

    def __enter__(self) -> FeatureServer:
        for desk in self._desks:
            desk.start()
        return self

    def __exit__(self, *_: object) -> None:
        for desk in self._desks:
            desk.stop()

    def connect(self) -> int:
        """A file descriptor for a new client, who goes to the extractor with the fewest of them."""
        return min(self._desks, key=lambda desk: desk.num_clients).connect()


class _Desk:
    """One extractor, the thread that owns it, and who asks it."""

    def __init__(self, extractor: Extractor, *, name: str) -> None:
        self._extractor = extractor
        self._clients: list[Connection] = []
        self._bell, self._ringer = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    def num_clients(self) -> int:
        return len(self._clients)

    def start(self) -> None:
        self._thread.start()

    def connect(self) -> int:
        ours, theirs = socket.socketpair()
        self._clients.append(Connection(ours.detach()))
        self._ringer.send_bytes(b"a new client")
        return theirs.detach()

    def stop(self) -> None:
        self._ringer.close()
        self._thread.join()

    def _serve(self) -> None:
        threadpool_limits(1)  # as a worker with an extractor of its own; OpenMP counts by thread
        try:
            while True:
                # The list itself grows meanwhile, in another thread.
                for connection in wait([self._bell, *self._clients]):
                    if connection is self._bell:
                        self._bell.recv_bytes()
                    elif isinstance(connection, Connection) and not self._answer(connection):
                        self._clients.remove(connection)
                        connection.close()
        except EOFError:  # of the bell: the end
            pass
        finally:
            self._bell.close()
            for client in self._clients:
                client.close()

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
            return portable(error)


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

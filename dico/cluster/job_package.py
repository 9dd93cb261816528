"""What an actor is sent to start with: the job, and what another machine needs to make sense of it."""

from __future__ import annotations

import pickle
import socket
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from dico.executors.process import search_path
from dico.job import Job
from dico.version import dico_version


@dataclass(frozen=True)
class JobPackage:
    """What an actor is sent to start with.

    Attributes:
        job: Pickled, functions of ``__main__`` by value.
        path: Where the driver finds modules: the labeler may be in one of them.
        version: Of this package, on the driver.
    """

    job: bytes
    path: tuple[str, ...]
    version: str

    @classmethod
    def of(cls, job: Job, dumps: Callable[[object], bytes]) -> JobPackage:
        """The package for a job.

        Args:
            job: The job.
            dumps: Pickles it; one that knows functions of ``__main__``.

        Raises:
            TypeError: when the job cannot be pickled.
        """
        try:
            pickled = dumps(job)
        except Exception as error:  # its classes raise what they like
            raise TypeError(f"the job cannot be pickled for other processes ({error})") from error
        return cls(pickled, search_path(), dico_version())

    def unpack(self) -> Job:
        """The job, in a process that now finds the driver's modules.

        Raises:
            ImportError: when this machine has another version of this package.
            Exception: whatever unpickling raises.
        """
        if self.version != dico_version():
            raise ImportError(
                f"{socket.gethostname()} has divide-and-conquer {dico_version()} and the driver {self.version}, which"
                " may label differently: install the same version on every machine of the cluster"
            )
        warnings.filterwarnings("ignore", module=r"PIL\.")
        sys.path.extend(entry for entry in self.path if entry not in sys.path)
        job: Job = pickle.loads(self.job)
        return job

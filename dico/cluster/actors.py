"""What runs in the actors of a cluster: one that labels, one that extracts features for many; without Ray itself.

:mod:`dico.cluster.remote` makes actors of them, and gives them the two things that only Ray knows: where they are, and
how to call an extractor that is an actor, too.
"""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dico.executors.feature_server import portable
from dico.executors.remote_extractor import Answer
from dico.executors.threads import limit_threads
from dico.executors.worker import story_of
from dico.features.base import Extractor, PatchFeatures
from dico.image import Image
from dico.job import Job
from dico.task import Failed, Lost, Outcome, Task, Work


@dataclass(frozen=True)
class Kit:
    """What an actor is given to start with.

    Attributes:
        job: Pickled, functions of ``__main__`` by value.
        path: Where the driver finds modules: the labeler may be in one of them.
        version: Of this package, on the driver.
    """

    job: bytes
    path: tuple[str, ...]
    version: str

    @classmethod
    def of(cls, job: Job, dumps: Callable[[object], bytes]) -> Kit:
        """The kit for a job.

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
        return cls(pickled, tuple(entry for entry in sys.path if isinstance(entry, str)), dico_version())

    def unpacked(self) -> Job:
        """The job, in a process that is fit for it.

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


@dataclass(frozen=True)
class Home:
    """Where a ready actor lives.

    Attributes:
        node: Ray's id of its node.
        host: The name of the machine.
        pid: Its process there.
        stderr: The file there that holds what it writes to standard error; empty when it is none.
    """

    node: str
    host: str
    pid: int
    stderr: str


@dataclass(frozen=True)
class Unfit:
    """An actor cannot be made ready; ``story`` says why, and another one would not do better."""

    story: str


@dataclass(frozen=True)
class Unseen:
    """An image was not found by an actor, nor was its folder, which the driver may well see.

    Attributes:
        host: The actor's machine.
        folder: The folder.
        outcome: The image's, if nobody sees it.
    """

    host: str
    folder: Path
    outcome: Failed

    @property
    def complaint(self) -> str:
        """What is wrong when others see the folder."""
        return (
            f"{self.host} does not see {self.folder}, as this machine does: every machine of the cluster must have the"
            f" images under the same path, such as on a shared file system ({self.outcome.error})"
        )


class ExtractorGoneError(Exception):
    """An extractor died before it answered; ``begun`` says whether it was at work on this very request."""

    def __init__(self, begun: bool) -> None:
        super().__init__(begun)
        self.begun = begun


Ask = Callable[[object, tuple[Image, ...], int | None], Answer]
"""Calls an extractor's actor; raises ExtractorGoneError."""


class LabelActor:
    """Labels images.

    Args:
        here: Ray's id of this node.
        ask: Calls an extractor.
    """

    def __init__(self, here: Callable[[], str], ask: Ask) -> None:
        self._here = here
        self._extractor = _FarExtractor(ask)
        self._work: Work | None = None

    def ready(self, kit: Kit) -> Home | Unfit:
        """Makes the work; not when the actor is made, as Ray would make a riddle of what is raised there."""
        try:
            job = kit.unpacked()
            self._work = job.work(self._extractor) if job.shares_extractor else job.work()
        except Exception as error:  # whatever it is: no other actor could do better, and the driver is to know
            return Unfit(story_of(error))
        limit_threads()
        return _home(self._here())

    def do(self, task: Task, extractors: Sequence[object]) -> Outcome | Lost | Unseen:
        """What became of an image.

        Args:
            task: The image.
            extractors: Actors that give features, the first to be asked first.
        """
        if self._work is None:
            raise RuntimeError("an actor must be ready before it is given a task")
        self._extractor.actors = extractors
        try:
            outcome = self._work(task)
        except _NoFeatures as error:
            return error.lost
        if isinstance(outcome, Failed) and outcome.kind == "decode" and not task.file.parent.is_dir():
            return Unseen(socket.gethostname(), task.file.parent, outcome)
        return outcome

    def alive(self) -> bool:
        """Answers."""
        return True


class FeatureActor:
    """Extracts features for many.

    Args:
        here: Ray's id of this node.
    """

    def __init__(self, here: Callable[[], str]) -> None:
        self._here = here
        self._extractor: Extractor | None = None

    def ready(self, kit: Kit, device: str | None) -> Home | Unfit:
        """Makes the extractor.

        Args:
            kit: Has the job.
            device: For torch; None leaves it to the job.
        """
        try:
            job = kit.unpacked()
            self._extractor = job.extractor(device or job.devices()[0])
        except Exception as error:  # as for LabelActor
            return Unfit(story_of(error))
        limit_threads()
        return _home(self._here())

    def extract(self, images: tuple[Image, ...], size: int | None) -> Iterator[Answer | None]:
        """Yields None when it begins, as who asked is to know of whose images this process died; then the answer.

        A request is answered by itself: what goes through a network together changes the bits, and must not depend on
        who else asks at the time.
        """
        if self._extractor is None:
            raise RuntimeError("an extractor must be ready before it is asked")
        yield None
        try:
            answer: Answer = self._extractor.extract(images, size=size)
        except Exception as error:  # whatever it is, it is that image's failure
            if "CUDA error" in str(error) and "out of memory" not in str(error):
                # The device is of no more use to this process, which would fail every image from here on.
                traceback.print_exc()
                os._exit(1)
            answer = portable(error)
        yield answer

    def watch(self) -> None:
        """Never returns: that the call fails tells of the actor's death."""
        while True:
            time.sleep(3600)


class _FarExtractor:
    """An extractor that is an actor; when that is dead, the next one."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.actors: Sequence[object] = ()

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """As :class:`dico.features.base.Extractor` says; raises what the extractor raises."""
        for actor in self.actors:
            try:
                answer = self._ask(actor, tuple(images), size)
            except ExtractorGoneError as gone:
                if gone.begun:  # it may well have died of these images, and so would the next one
                    raise _NoFeatures(Lost("left without features: the process that extracted them died")) from gone
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise _NoFeatures(Lost("left without features: no process that extracts them is alive", blameless=True))


class _NoFeatures(BaseException):
    """No Exception, as the work takes those for failures of the image."""

    def __init__(self, lost: Lost) -> None:
        super().__init__(lost)
        self.lost = lost


def dico_version() -> str:
    """The version of this package; "unknown" where it is not installed but found on the path."""
    try:
        return importlib.metadata.version("divide-and-conquer")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _home(node: str) -> Home:
    link = Path("/proc/self/fd/2")
    file = link.resolve() if link.exists() else Path()
    return Home(node, socket.gethostname(), os.getpid(), str(file) if file.is_file() else "")


def num_extractors(gpus_by_node: Sequence[int], gpus_per_actor: float) -> int:
    """How many actors that extract features a cluster has room for.

    Args:
        gpus_by_node: How many GPUs each node has.
        gpus_per_actor: A share of one GPU, or several; 0 asks for one actor without any.

    Raises:
        ValueError: when there is no room for any.

    Example:
        >>> num_extractors([2, 0, 1], 0.5)
        6
    """
    if not gpus_per_actor:
        return 1
    per_gpu = int(1 / gpus_per_actor)  # 0 when an actor needs several
    number = sum(gpus * per_gpu if per_gpu else int(gpus // gpus_per_actor) for gpus in gpus_by_node)
    if not number:
        raise ValueError(
            f"features are to be extracted on GPUs, {gpus_per_actor:g} an actor, and the Ray cluster has"
            f" {sum(gpus_by_node)}: take extractor.device=cpu, or start Ray where there are GPUs"
        )
    return number

"""What runs in the actors of a cluster: one that labels, one that extracts features for many; without Ray itself.

:mod:`dico.cluster.remote` makes actors of them, and gives them the two things that only Ray knows: where they are, and
how to call an extractor that is an actor, too.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dico.cluster.job_package import JobPackage
from dico.executors.feature_server import device_is_lost, portable
from dico.executors.remote_extractor import Answer
from dico.executors.worker import story_of
from dico.features.base import Extractor, PatchFeatures
from dico.image import Image
from dico.task import Failed, Lost, Outcome, Task, Work
from dico.threads import limit_threads


@dataclass(frozen=True)
class ActorInfo:
    """Where a ready actor is.

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
class CannotStart:
    """An actor cannot be made ready; ``error`` says why, and another one would not do better."""

    error: str


@dataclass(frozen=True)
class FolderNotVisible:
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
        """What is wrong when the driver sees the folder."""
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
        self._extractor = _ActorExtractor(ask)
        self._work: Work | None = None

    def ready(self, package: JobPackage) -> ActorInfo | CannotStart:
        """Makes the work. The constructor does not: of what is raised there, Ray tells the driver little."""
        try:
            job = package.unpack()
            self._work = job.work(self._extractor) if job.shares_extractor else job.work()
        except Exception as error:  # whatever it is: no other actor could do better, and the driver is to know
            return CannotStart(story_of(error))
        limit_threads()
        return _info(self._here())

    def do(self, task: Task, extractors: Sequence[object], alive: bool = True) -> Outcome | Lost | FolderNotVisible:
        """What became of an image.

        Args:
            task: The image.
            extractors: Actors that give features, the first to be asked first.
            alive: This actor's own answer, for which Ray waits before it sends the task: so the dead get none.
        """
        if self._work is None:
            raise RuntimeError("an actor must be ready before it is given a task")
        self._extractor.actors = extractors
        try:
            outcome = self._work(task)
        except _NoFeatures as error:
            return error.lost
        if isinstance(outcome, Failed) and outcome.kind == "decode" and not task.file.parent.is_dir():
            return FolderNotVisible(socket.gethostname(), task.file.parent, outcome)
        return outcome

    def alive(self) -> bool:
        """True."""
        return True


class FeatureActor:
    """Extracts features for many.

    Args:
        here: Ray's id of this node.
    """

    def __init__(self, here: Callable[[], str]) -> None:
        self._here = here
        self._extractor: Extractor | None = None

    def ready(self, package: JobPackage, device: str | None) -> ActorInfo | CannotStart:
        """Makes the extractor.

        Args:
            package: Has the job.
            device: For torch; None leaves it to the job.
        """
        try:
            job = package.unpack()
            self._extractor = job.extractor(device or job.devices()[0])
        except Exception as error:  # as for LabelActor
            return CannotStart(story_of(error))
        limit_threads()
        return _info(self._here())

    def extract(self, images: tuple[Image, ...], size: int | None) -> Iterator[Answer | None]:
        """Yields None when it begins, then the answer: if this process dies, the asker knows whether of its images.

        A request is answered by itself: what goes through a network together changes the bits, and must not depend on
        who else asks at the time.
        """
        if self._extractor is None:
            raise RuntimeError("an extractor must be ready before it is asked")
        yield None
        try:
            answer: Answer = self._extractor.extract(images, size=size)
        except Exception as error:  # whatever it is, it is that image's failure
            if device_is_lost(error):
                traceback.print_exc()
                os._exit(1)
            answer = portable(error)
        yield answer

    def watch(self) -> None:
        """Never returns: that the call fails tells of the actor's death."""
        while True:
            time.sleep(3600)


class _ActorExtractor:
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


def _info(node: str) -> ActorInfo:
    link = Path("/proc/self/fd/2")
    file = link.resolve() if link.exists() else Path()
    return ActorInfo(node, socket.gethostname(), os.getpid(), str(file) if file.is_file() else "")

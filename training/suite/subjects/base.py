"""What every subject of an evaluation can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dico.ground_truth import AnnotatedImage
from training.evaluation.answers.base import Answers
from training.evaluation.point_iou import MOST_CLICKS, THRESHOLDS
from training.evaluation.running.point_work import Ask
from training.records import ImageRecord

T = TypeVar("T")


class AbsentError(FileNotFoundError):
    """There is nothing to evaluate on a data set.

    Attributes:
        command: What makes it; empty when nobody knows.
    """

    def __init__(self, reason: str, command: str = "") -> None:
        super().__init__(reason)
        self.command = command


@dataclass(frozen=True)
class Clicks:
    """How ground truths are clicked.

    Attributes:
        most: So many clicks are made at most; 1 for no number of clicks.
        thresholds: The IoUs that clicks are to reach.
    """

    most: int = MOST_CLICKS
    thresholds: tuple[float, ...] = THRESHOLDS


class Subject(Protocol):
    """What is evaluated.

    Attributes:
        title: What reports call it.
        looks_at_images: Whether it needs the images themselves.
    """

    title: str
    looks_at_images: bool

    def identity(self, data_set: str, task: str) -> Mapping[str, Any]:
        """All that its answers on a data set depend on, beside the images; JSON-ready.

        Raises:
            AbsentError: when it has nothing on this data set.
            ValueError: when it cannot be asked for the task.
        """
        ...

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """Makes, in each process, what gives images their masks.

        Raises:
            ValueError: when it knows none of the images.
        """
        ...

    def clicks(
        self, data_set: str, records: Sequence[ImageRecord], clicks: Clicks, processes: int
    ) -> Callable[[], Ask]:
        """Makes, in each process, what clicks find; likewise."""
        ...


def itself(made: T) -> T:
    """What was made already; with :func:`functools.partial` it can be sent to processes that are to make it."""
    return made

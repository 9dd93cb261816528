"""The work on one image: a pure function from a file to the bytes of its row, the same in every process."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dico.image import Image, ImageError, load_image
from dico.masks import MaskSet
from dico.stopwatch import stage, stopwatch
from dico.store import ImageEntry, LabelRow, encode_row
from dico.store.row_reader import RowReader
from dico.store.rows import FailureKind

TRACEBACK_LINES = 20

Labeler = Callable[[Image], MaskSet]
"""What gives an image its masks: a PseudoLabeler, or any function."""
Revision = Callable[[Image, LabelRow], MaskSet]
"""What gives an image new masks, from the row that a store has of it."""


@dataclass(frozen=True)
class Task:
    """One image to label.

    Attributes:
        entry: The image in the manifest.
        file: Where it lies.
    """

    entry: ImageEntry
    file: Path


@dataclass(frozen=True)
class Labelled:
    """An image got its masks.

    Attributes:
        row: Its row, encoded: masks themselves need not travel between processes.
        masks: How many there are.
        seconds_by_stage: How long each stage took.
    """

    row: bytes
    masks: int = 0
    seconds_by_stage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """An image failed.

    Attributes:
        kind: Why.
        error: Type and message of what was raised.
        traceback: The last lines of its traceback; empty where they tell nothing.
        attempts: How often it was tried.
    """

    kind: FailureKind
    error: str
    traceback: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class Lost:
    """The worker died with the task: there is no outcome, and the task can be handed over again.

    Attributes:
        reason: What the worker died of, such as "killed by SIGSEGV".
        traceback: The last lines that it wrote; empty when there are none.
        blameless: Whether the task cannot have been the cause, as when a whole machine went away.
        kind: Of the failure that it is when it happens too often.
    """

    reason: str
    traceback: str = ""
    blameless: bool = False
    kind: FailureKind = "crash"


Outcome = Labelled | Failed

Result = Outcome | Lost

Work = Callable[[Task], Outcome]
"""Pure, and never raises: what goes wrong with a task is its outcome."""


@dataclass(frozen=True)
class LabelWork:
    """Labels one image, and turns whatever is raised on the way into an outcome.

    Attributes:
        labeler: Gives the masks.
        max_pixels: Larger images are refused before they are decoded.
    """

    labeler: Labeler
    max_pixels: int

    def __call__(self, task: Task) -> Outcome:
        """What became of the image; an exception is one of its outcomes and is not raised."""
        try:
            with stopwatch() as seconds_by_stage:
                with stage("load"):
                    image = load_image(task.file, max_pixels=self.max_pixels)
                masks = self.labeler(image)
                if masks.size_hw != image.shape[:2]:
                    raise ValueError(f"masks must be of the image's size {image.shape[:2]}, got {masks.size_hw}")
                with stage("encode"):
                    row = encode_row(task.entry, masks)
            return Labelled(row, len(masks), seconds_by_stage)
        except ImageError as error:
            return Failed("decode", f"ImageError: {error}")
        except MemoryError as error:
            return Failed("memory", _described(error), _tail(error))
        except Exception as error:  # whatever it is, it is this image's failure and not the end of the others
            # torch's own kind of MemoryError is a RuntimeError; torch may not be there to ask.
            kind: FailureKind = "memory" if type(error).__name__ == "OutOfMemoryError" else "error"
            return Failed(kind, _described(error), _tail(error))


@dataclass(frozen=True)
class RevisionWork:
    """Gives one image new masks, and turns whatever is raised on the way into an outcome.

    Attributes:
        revise: Gives the masks.
        rows: Of a store with the same images under the same indices.
        max_pixels: Larger images are refused before they are decoded.
    """

    revise: Revision
    rows: RowReader
    max_pixels: int

    def __call__(self, task: Task) -> Outcome:
        """What became of the image, as :class:`LabelWork` says it."""
        return LabelWork(lambda image: self.revise(image, self.rows.row(task.entry.index)), self.max_pixels)(task)


def _described(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _tail(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(lines[-TRACEBACK_LINES:])

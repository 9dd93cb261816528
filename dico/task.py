"""The work on one image: a pure function from a file to the bytes of its row, the same in every process."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dico.image import Image, ImageError, load_image
from dico.masks import MaskSet
from dico.store import ImageEntry, encode_row
from dico.store.rows import FailureKind

TRACEBACK_LINES = 20

Labeler = Callable[[Image], MaskSet]
"""What gives an image its masks: a PseudoLabeler, or any function."""


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
    """

    row: bytes


@dataclass(frozen=True)
class Failed:
    """An image failed.

    Attributes:
        kind: Why.
        error: Type and message of what was raised.
        traceback: The last lines of its traceback; empty where they tell nothing.
    """

    kind: FailureKind
    error: str
    traceback: str = ""


Outcome = Labelled | Failed


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
            image = load_image(task.file, max_pixels=self.max_pixels)
            masks = self.labeler(image)
            if masks.size_hw != image.shape[:2]:
                raise ValueError(f"masks must be of the image's size {image.shape[:2]}, got {masks.size_hw}")
            return Labelled(encode_row(task.entry, masks))
        except ImageError as error:
            return Failed("decode", f"ImageError: {error}")
        except MemoryError as error:
            return Failed("memory", _described(error), _tail(error))
        except Exception as error:  # whatever it is, it is this image's failure and not the end of the others
            return Failed("error", _described(error), _tail(error))


def _described(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _tail(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(lines[-TRACEBACK_LINES:])

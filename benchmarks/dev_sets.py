"""The photographs with human masks that quality is measured on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dico.ground_truth import AnnotatedImage, load_annotations

T = TypeVar("T")

ANNOTATIONS = {
    "bsds_train": "bsds_train/annotations.json",
    "bsds_train_consensus": "bsds_train/annotations_consensus.json",
    "coco_instances": "coco_instances/annotations.json",
    "coco_panoptic": "coco_panoptic/annotations.json",
    "parts": "parts/annotations.json",
    "smoke": "smoke/annotations.json",
}
"""Every set by name; two of them may share their photographs."""
REPORTED = tuple(name for name in ANNOTATIONS if name != "smoke")


class MissingDataError(Exception):
    """The photographs are not on this machine; the message, after "needs", says what to do."""


@dataclass(frozen=True)
class DevSet:
    """Photographs with their ground truth.

    Attributes:
        name: A key of ``ANNOTATIONS``.
        images: The ground truth of each photograph.
        paths: The file of each photograph.
    """

    name: str
    images: tuple[AnnotatedImage, ...]
    paths: tuple[Path, ...]


def data_folder() -> Path:
    """The folder that holds ``dev``: ``DICO_DATA``, or ``../shared/data`` beside the repository.

    Raises:
        MissingDataError: when it does not.
    """
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(os.environ.get("DICO_DATA", beside))
    if not (folder / "dev").is_dir():
        raise MissingDataError(f"photographs with human masks: no folder {folder / 'dev'}; set DICO_DATA to its parent")
    return folder


def load_dev_set(name: str, limit: int | None = None) -> DevSet:
    """A dev set, or ``limit`` photographs of it, evenly spaced by id.

    Raises:
        KeyError: for an unknown name.
        MissingDataError: when the photographs are not on this machine.
    """
    annotations = data_folder() / "dev" / ANNOTATIONS[name]
    images = evenly_spaced(load_annotations(annotations), limit)
    paths = tuple(annotations.parent / "images" / image.file_name for image in images)
    return DevSet(name, tuple(images), paths)


def by_photographs(dev_sets: Sequence[DevSet]) -> dict[tuple[Path, ...], list[DevSet]]:
    """The sets that share their photographs, together: these need labels once."""
    sharing: dict[tuple[Path, ...], list[DevSet]] = {}
    for dev_set in dev_sets:
        sharing.setdefault(dev_set.paths, []).append(dev_set)
    return sharing


def evenly_spaced(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most ``limit`` items, the first and the last among them; None for all.

    Example:
        >>> list(evenly_spaced(range(10), 4))
        [0, 3, 6, 9]
    """
    if limit is None or limit >= len(items):
        return items
    if limit == 1:
        return items[:1]
    return [items[round(k * (len(items) - 1) / (limit - 1))] for k in range(limit)]

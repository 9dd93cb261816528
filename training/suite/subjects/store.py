"""The labels of a store as what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dico.ground_truth import AnnotatedImage
from dico.store import MaskStore
from dico.store.manifest import MANIFEST
from training.evaluation.answers.base import Answers
from training.evaluation.answers.store import StoreAnswers
from training.evaluation.running.point_work import Ask, AskLabels, LabelsOfStore
from training.records import ImageRecord
from training.suite.subjects.base import AbsentError, Clicks, itself


class StoreSubject:
    """The labels of a store, or of one store for each data set.

    Args:
        path: A store; or a folder of stores that have the names of data sets.

    Raises:
        FileNotFoundError: when there is no such folder.
    """

    looks_at_images = False

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise FileNotFoundError(f"{path} is not a store, and no folder of stores; dico label makes one")
        self.title = f"store {path}"
        self._path = path

    def identity(self, data_set: str, task: str) -> Mapping[str, Any]:
        """As any subject."""
        store = self.of(data_set)
        header, status = store.manifest.header(), store.status()
        kept = {name: header[name] for name in ("images_sha256", "config_hash")}
        return {**kept, "labelled": status.done, "failed": status.failed}

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """As any subject."""
        return partial(itself, StoreAnswers(self.of(data_set), images))

    def clicks(
        self, data_set: str, records: Sequence[ImageRecord], clicks: Clicks, processes: int
    ) -> Callable[[], Ask]:
        """As any subject; labels answer one click and no corrections."""
        return partial(itself, AskLabels(LabelsOfStore(self.of(data_set), records)))

    def of(self, data_set: str) -> MaskStore:
        """The store that has the labels of a data set.

        Raises:
            AbsentError: when there is none.
        """
        path = self._path if (self._path / MANIFEST).is_file() else self._path / data_set
        if not (path / MANIFEST).is_file():
            raise AbsentError(
                f"{self._path} is no store, and has none of the name {data_set}", f"dico label IMAGES {path}"
            )
        return MaskStore.open(path)

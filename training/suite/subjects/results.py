"""A results file in COCO's format as what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dico.ground_truth import AnnotatedImage
from training.digest import sha256_of
from training.evaluation.answers.base import Answers
from training.evaluation.answers.results import ResultsAnswers
from training.evaluation.running.point_work import Ask
from training.records import ImageRecord
from training.suite.subjects.base import AbsentError, Clicks, itself


class ResultsSubject:
    """A results file in COCO's format, or one for each data set.

    Args:
        path: A results file; or a folder of them, ``<data set>.json``.

    Raises:
        FileNotFoundError: when there is neither.
    """

    looks_at_images = False

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such results file, and no folder of them")
        self.title = f"predictions {path}"
        self._path = path

    def identity(self, data_set: str, task: str) -> Mapping[str, Any]:
        """As any subject; the file is read."""
        if task == "point":
            raise ValueError("--task point needs a --model that can be clicked, or labels in a --store")
        return {"results_sha256": sha256_of(self._file(data_set))}

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """As any subject; the file is read once."""
        return partial(itself, ResultsAnswers(self._file(data_set), images))

    def clicks(
        self, data_set: str, records: Sequence[ImageRecord], clicks: Clicks, processes: int
    ) -> Callable[[], Ask]:
        """Is not to be had."""
        raise ValueError("--predictions cannot be clicked")

    def _file(self, data_set: str) -> Path:
        path = self._path / f"{data_set}.json" if self._path.is_dir() else self._path
        if not path.is_file():
            raise AbsentError(f"{self._path} has no results file {path.name}")
        return path

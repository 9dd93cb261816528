"""What is evaluated: a model, stored labels or results files; how each answers the images of a data set.

What needs torch is imported when a model is asked: processes that share the work on a store start without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dico.ground_truth import AnnotatedImage
from dico.store import MaskStore
from dico.store.manifest import MANIFEST
from training.evaluation.answers.base import Answers
from training.evaluation.answers.model import ModelAnswers
from training.evaluation.answers.results import ResultsAnswers
from training.evaluation.answers.store import StoreAnswers
from training.evaluation.point_iou import MOST_CLICKS, THRESHOLDS
from training.evaluation.running.point_work import Ask, AskClickable, AskLabels, LabelsOfStore
from training.records import ImageRecord

if TYPE_CHECKING:
    from training.prompt_predictor import PromptPredictor
    from training.trained import Trained


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


class ModelSubject:
    """A trained model.

    Args:
        checkpoint: As for :func:`training.trained.load_trained`.
        config_file: Likewise.
        overrides: Likewise.
        device: As for :func:`training.device.choose_device`; a GPU is for one process.
    """

    looks_at_images = True

    def __init__(
        self, checkpoint: str, *, config_file: str | None = None, overrides: Sequence[str] = (), device: str = "auto"
    ) -> None:
        self.title = f"model {checkpoint}"
        self._model = _Model(checkpoint, config_file, tuple(overrides), device)

    def identity(self, data_set: str, task: str) -> Mapping[str, Any]:
        """As any subject; the model is read."""
        read = self._clickable[1] if task == "point" else self._trained.identity()
        return {**read, "device": self._model.device_type()}

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """As any subject. Several processes read the model each for itself, and use one thread."""
        if processes == 1:
            return partial(_same, ModelAnswers(self._trained.predict))
        return partial(_answers_of_model, self._model)

    def clicks(
        self, data_set: str, records: Sequence[ImageRecord], clicks: Clicks, processes: int
    ) -> Callable[[], Ask]:
        """Likewise."""
        if processes == 1:
            asked = AskClickable(self._clickable[0], thresholds=clicks.thresholds, most_clicks=clicks.most)
            return partial(_same, asked)
        return partial(_clicks_of_model, self._model, clicks)

    @cached_property
    def _trained(self) -> Trained:
        return self._model.trained()

    @cached_property
    def _clickable(self) -> tuple[PromptPredictor, Mapping[str, Any]]:
        return self._model.clickable(), self._model.clickable_identity()


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
        store = self._store(data_set)
        header, status = store.manifest.header(), store.status()
        kept = {name: header[name] for name in ("images_sha256", "config_hash")}
        return {**kept, "labelled": status.done, "failed": status.failed}

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """As any subject."""
        return partial(_same, StoreAnswers(self._store(data_set), images))

    def clicks(
        self, data_set: str, records: Sequence[ImageRecord], clicks: Clicks, processes: int
    ) -> Callable[[], Ask]:
        """As any subject; labels answer one click and no corrections."""
        return partial(_same, AskLabels(LabelsOfStore(self._store(data_set), records)))

    def _store(self, data_set: str) -> MaskStore:
        path = self._path if (self._path / MANIFEST).is_file() else self._path / data_set
        if not (path / MANIFEST).is_file():
            raise AbsentError(
                f"{self._path} is no store, and has none of the name {data_set}", f"dico label IMAGES {path}"
            )
        return MaskStore.open(path)


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
        return {"results_sha256": digest_of(self._file(data_set))}

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """As any subject; the file is read once."""
        return partial(_same, ResultsAnswers(self._file(data_set), images))

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


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class _Model:
    """Where a model is and how it is asked; small when pickled."""

    checkpoint: str
    config_file: str | None
    overrides: tuple[str, ...]
    device: str

    def trained(self, threads: int | None = None) -> Trained:
        from training.device import choose_device
        from training.trained import load_trained

        return load_trained(
            self.checkpoint,
            config_file=self.config_file,
            overrides=self.overrides,
            device=choose_device(self.device),
            threads=threads,
        )

    def clickable(self, threads: int | None = None) -> PromptPredictor:
        from training.device import choose_device
        from training.prompt_predictor import PromptPredictor

        return PromptPredictor.from_checkpoint(
            self.checkpoint,
            config_file=self.config_file,
            overrides=self.overrides,
            device=choose_device(self.device),
            threads=threads,
        )

    def clickable_identity(self) -> Mapping[str, Any]:
        from dico.config_loading import to_plain
        from training.settings import settings_of
        from training.trained import sha256_of

        path = Path(self.checkpoint)
        config = settings_of(path, config_file=self.config_file, overrides=self.overrides)
        return {
            "checkpoint_sha256": sha256_of(path),
            "inference": to_plain(config.inference),
            "click_px": config.prompts.click_px,
        }

    def device_type(self) -> str:
        from training.device import device_type

        return device_type(self.device)


def _answers_of_model(model: _Model) -> Answers:
    return ModelAnswers(model.trained(threads=1).predict)


def _clicks_of_model(model: _Model, clicks: Clicks) -> Ask:
    return AskClickable(model.clickable(threads=1), thresholds=clicks.thresholds, most_clicks=clicks.most)


def _same(made: Any) -> Any:
    return made

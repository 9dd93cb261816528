"""A trained model as what is evaluated.

What needs torch is imported when the model is asked: processes that share the work on a store start without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dico.ground_truth import AnnotatedImage
from training.digest import sha256_of
from training.evaluation.answers.base import Answers
from training.evaluation.answers.model import ModelAnswers
from training.evaluation.running.point_work import Ask, AskClickable
from training.records import ImageRecord
from training.suite.subjects.base import Clicks, itself

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.prompt_predictor import PromptPredictor
    from training.trained import Trained


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

    def check_settings(self) -> None:
        """Raises FileNotFoundError, KeyError, ValueError or TypeError for settings that the model does not have."""
        self._model.settings()

    def identity(self, data_set: str, task: str) -> Mapping[str, Any]:
        """As any subject; the model is read."""
        read = self._clickable[1] if task == "point" else self._trained.identity()
        return {**read, "device": self._model.device_type()}

    def answers(self, data_set: str, images: Sequence[AnnotatedImage], processes: int) -> Callable[[], Answers]:
        """As any subject. Several processes read the model each for itself, and use one thread."""
        if processes == 1:
            return partial(itself, ModelAnswers(self._trained.predict))
        return partial(_answers_of_model, self._model)

    def clicks(
        self, data_set: str, records: Sequence[ImageRecord], clicks: Clicks, processes: int
    ) -> Callable[[], Ask]:
        """Likewise."""
        if processes == 1:
            asked = AskClickable(self._clickable[0], thresholds=clicks.thresholds, most_clicks=clicks.most)
            return partial(itself, asked)
        return partial(_clicks_of_model, self._model, clicks)

    @cached_property
    def _trained(self) -> Trained:
        return self._model.trained()

    @cached_property
    def _clickable(self) -> tuple[PromptPredictor, Mapping[str, Any]]:
        return self._model.clickable(), self._model.clickable_identity()


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

    def settings(self) -> TrainConfig:
        from training.settings import settings_of

        return settings_of(Path(self.checkpoint), config_file=self.config_file, overrides=self.overrides)

    def clickable_identity(self) -> Mapping[str, Any]:
        from dico.config_loading import to_plain

        config = self.settings()
        return {
            "checkpoint_sha256": sha256_of(Path(self.checkpoint)),
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

"""A checkpoint as something that can be asked: the model, how it is asked, and what says that it is the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dico.config_loading import to_plain
from training.automatic_masks import AutomaticMasks
from training.config import AutomaticConfig, InferenceConfig
from training.device import choose_device
from training.digest import sha256_of
from training.models.checkpoints import load_model
from training.predictor import Predictor
from training.promptable_checkpoint import TASK as PROMPTABLE
from training.settings import settings_of


@dataclass(frozen=True)
class Trained:
    """A model that was trained.

    Attributes:
        predict: Gives an image its masks.
        inference: How it is asked.
        sha256: Of the weights' file, or of all files in their folder.
        automatic: How a promptable model is asked for all masks; None for a whole-image model.
    """

    predict: Predictor | AutomaticMasks
    inference: InferenceConfig
    sha256: str
    automatic: AutomaticConfig | None = None

    def identity(self) -> dict[str, Any]:
        """What its masks depend on beside the image; JSON-ready."""
        automatic = {} if self.automatic is None else {"automatic": to_plain(self.automatic)}
        return {"checkpoint_sha256": self.sha256, "inference": to_plain(self.inference), **automatic}


def load_trained(
    checkpoint: str | Path,
    *,
    config_file: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Trained:
    """The model of a checkpoint, ready to be asked for all masks of images.

    Args:
        checkpoint: Any that :func:`training.models.checkpoints.load_model` or
            :func:`training.promptable_checkpoint.load_promptable` reads.
        config_file: As for :func:`training.settings.settings_of`.
        overrides: Strings such as ``"inference.max_masks=100"``.
        device: As for :func:`training.device.choose_device`.
        threads: As for :class:`training.predictor.Predictor`.

    Raises:
        CheckpointError: when the checkpoint cannot be read, or is of no model that is known.
        FileNotFoundError, KeyError, ValueError, TypeError: when the settings are not valid.
    """
    path = Path(checkpoint)
    config = settings_of(path, config_file=config_file, overrides=overrides)
    if config.task == PROMPTABLE:
        automatic = AutomaticMasks.from_checkpoint(
            path, config_file=config_file, overrides=overrides, device=device, threads=threads
        )
        return Trained(automatic, config.inference, sha256_of(path), config.automatic)
    device = choose_device(device)
    predict = Predictor(load_model(path), config.inference, device=device, threads=threads)
    return Trained(predict, config.inference, sha256_of(path))

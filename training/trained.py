"""A checkpoint as something that can be asked: the model, how it is asked, and what says that it is the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dico.config_loading import to_plain
from training.config import InferenceConfig, load_train_config
from training.models.checkpoints import load_model
from training.models.recorded import recorded_config
from training.predictor import Predictor

SECTION = "inference."


@dataclass(frozen=True)
class Trained:
    """A model that was trained.

    Attributes:
        predict: Gives an image its masks.
        inference: How it is asked.
        sha256: Of the weights' file, or of all files in their folder.
    """

    predict: Predictor
    inference: InferenceConfig
    sha256: str

    def identity(self) -> dict[str, Any]:
        """What its masks depend on beside the image; JSON-ready."""
        return {"checkpoint_sha256": self.sha256, "inference": to_plain(self.inference)}


def load_trained(
    checkpoint: str | Path,
    *,
    config_file: str | Path | None = None,
    overrides: Iterable[str] = (),
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Trained:
    """The model of a checkpoint, ready to be asked.

    Args:
        checkpoint: Any that :func:`training.models.checkpoints.load_model` reads.
        config_file: A training configuration, of which the section ``inference`` is taken; None for what the
            checkpoint was trained with, or the defaults where it does not say.
        overrides: Strings such as ``"inference.max_masks=100"``.
        device: A device of torch.
        threads: As for :class:`training.predictor.Predictor`.

    Raises:
        CheckpointError: when the checkpoint cannot be read, or is of no model that is known.
        FileNotFoundError, KeyError, ValueError, TypeError: when the settings are not valid.
    """
    path, overrides = Path(checkpoint), list(overrides)
    for override in overrides:
        if not override.startswith(SECTION):
            raise ValueError(f"a setting must be of the section inference, such as {SECTION}max_masks=100: {override}")
    model = load_model(path)
    recorded = {} if config_file is not None else _recorded_inference(path)
    values = [f"{SECTION}{key}={json.dumps(value)}" for key, value in recorded.items()]
    inference = load_train_config(config_file, [*values, *overrides]).inference
    return Trained(Predictor(model, inference, device=device, threads=threads), inference, sha256_of(path))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file; of a folder, that of the names and contents of the files in it.

    Args:
        path: What exists.
    """
    if path.is_file():
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(file for file in path.iterdir() if file.is_file()):
        digest.update(f"{file.name}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _recorded_inference(path: Path) -> Mapping[str, Any]:
    section = recorded_config(path).get("inference")
    return section if isinstance(section, Mapping) else {}

"""What a checkpoint of our training says beside its weights: the configuration that it was trained with.

Shapes do not tell everything: how many of the samples of deformable attention are heads and how many points, or which
mean an image is normalised with.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dico.config_loading import from_mapping
from training.config import ModelConfig
from training.models.checkpoint_files import CheckpointError

TASK = "whole_image"


def recorded_config(path: Path) -> Mapping[str, Any]:
    """The configuration in a checkpoint of our training, as plain values; empty for any other file or folder.

    Args:
        path: A file, a folder, or what does not exist.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):
        return {}
    try:
        # Mapped: what is not looked at, such as the state of the optimiser, is not read.
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError):
        return {}  # written by others, who put more into a checkpoint than plain values
    config = held.get("config") if isinstance(held, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def recorded_model(path: Path) -> ModelConfig | None:
    """The network of a checkpoint of our training; None for any other file or folder.

    Args:
        path: As for :func:`recorded_config`.

    Raises:
        CheckpointError: when the checkpoint is of another task, or its configuration is none that is known here.
    """
    config = recorded_config(path)
    section = config.get("model")
    if not isinstance(section, Mapping):
        return None
    if (task := config.get("task", TASK)) != TASK:
        raise CheckpointError(f"it is a model of task={task}, and must be of task={TASK}")
    try:
        return from_mapping(ModelConfig, section, prefix="model.")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the configuration in it is not known here: {error.args[0]}") from error

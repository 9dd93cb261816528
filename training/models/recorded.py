"""What a checkpoint of our training says beside its weights: the configuration that it was trained with.

Shapes do not tell everything: how many of the samples of deformable attention are heads and how many points, or which
mean an image is normalised with.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dico.atomic import atomic_file
from dico.config_loading import from_mapping
from training.config import ModelConfig
from training.models.checkpoint_files import CheckpointError

TASK = "whole_image"
CONFIG = "config"
"""Where it is: a key of a file of training, and of a safetensors file's metadata, there as JSON."""


def recorded_config(path: Path) -> Mapping[str, Any]:
    """The configuration in a checkpoint of our training, as plain values; empty for any other file or folder.

    Args:
        path: A file of training or of :func:`save_recorded`, another one, a folder, or what does not exist.
    """
    if path.suffix == ".safetensors":
        return _metadata(path)
    if not path.is_file() or not zipfile.is_zipfile(path):
        return {}
    try:
        # Mapped: what is not looked at, such as the state of the optimiser, is not read.
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError):
        return {}  # written by others, who put more into a checkpoint than plain values
    config = held.get(CONFIG) if isinstance(held, Mapping) else None
    return config if isinstance(config, Mapping) else {}


def _metadata(path: Path) -> Mapping[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get(CONFIG, "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError):
        return {}  # whoever reads the weights says what is wrong with the file
    return config if isinstance(config, Mapping) else {}


def save_recorded(state: Mapping[str, Tensor], config: Mapping[str, Any], path: Path) -> None:
    """Writes weights and their configuration to one safetensors file: what is needed to use a model, to be passed on.

    Args:
        state: The model's weights, under our names.
        config: The configuration that it was trained with, as plain values.
        path: The file, whose name must end in ``.safetensors``; one that exists is replaced.

    Raises:
        ValueError: when the name has another ending.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {path}")
    weights = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic_file(path) as temporary:
        temporary.write_bytes(save(weights, metadata={"format": "pt", CONFIG: json.dumps(config)}))


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

"""How the model of a checkpoint is asked: as the checkpoint says, as a file says, and as is said beside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from training.config import TrainConfig, load_train_config
from training.models.published_promptable import is_published
from training.models.recorded import recorded_config

SECTIONS = ("inference", "automatic")
"""What may be said beside a checkpoint: it does not change what the model is."""


def settings_of(path: Path, *, config_file: str | Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """The configuration of a checkpoint's model, as far as it is about asking it.

    Args:
        path: The checkpoint.
        config_file: A training configuration, whose sections ``inference`` and ``automatic`` are taken; and the task
            and the network of a promptable model, if the checkpoint does not say them. None for what the checkpoint was
            trained with, or the defaults where it does not say.
        overrides: Strings such as ``"inference.max_masks=100"``.

    Returns:
        Task, ``promptable``, ``prompts``, ``inference`` and ``automatic`` are the checkpoint's. A file of the published
        promptable model has the task ``promptable``, and without a configuration file the defaults, which are its own.

    Raises:
        FileNotFoundError, KeyError, ValueError, TypeError: when the settings are not valid.
    """
    overrides = list(overrides)
    for override in overrides:
        if not override.startswith(tuple(f"{section}." for section in SECTIONS)):
            raise ValueError(
                "a setting must be of the section inference, or automatic of a promptable model, such as "
                f"inference.max_masks=100: {override}"
            )
    recorded = recorded_config(path)
    network = ("promptable", "prompts") if recorded.get("task") == "promptable" else ()
    values = list(_overrides(recorded, (*network, *(SECTIONS if config_file is None else ()))))
    if "task" in recorded:
        values.append(f"task={recorded['task']}")
    elif not recorded and is_published(path):
        values.append("task=promptable")
    return load_train_config(config_file, [*values, *overrides])


def _overrides(config: Mapping[str, Any], sections: Iterable[str]) -> Iterator[str]:
    for section in sections:
        held = config.get(section)
        if isinstance(held, Mapping):
            yield from (f"{section}.{key}={json.dumps(value)}" for key, value in held.items())

"""The promptable model of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from training.config import TrainConfig
from training.models.checkpoint_files import CheckpointError
from training.models.checkpoints import load_weights
from training.models.promptable import PromptableModel
from training.settings import settings_of

TASK = "promptable"


def load_promptable(
    path: str | Path, *, config_file: str | Path | None = None, overrides: Iterable[str] = ()
) -> tuple[PromptableModel, TrainConfig]:
    """A promptable model and how it is asked.

    Args:
        path: A checkpoint of our training; or any file that :func:`training.models.checkpoints.load_weights` reads,
            with a file that says what network it is of.
        config_file: As for :func:`training.settings.settings_of`.
        overrides: Likewise.

    Returns:
        The model, in evaluation mode on the CPU, and the settings.

    Raises:
        CheckpointError: when the checkpoint cannot be read, is of another task, or does not fit the network.
        FileNotFoundError, KeyError, ValueError, TypeError: when the settings are not valid.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder")
    config = settings_of(path, config_file=config_file, overrides=overrides)
    if config.task != TASK:
        raise CheckpointError(
            f"{path} does not say that it is a promptable model (task={TASK}): name a checkpoint of one, or the "
            "configuration that it was trained with as the config file"
        )
    model = PromptableModel(config.promptable)
    load_weights(model, path)
    return model.eval(), config

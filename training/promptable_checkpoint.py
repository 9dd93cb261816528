"""The promptable model of a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from training.config import TrainConfig
from training.models.checkpoint_files import CheckpointError
from training.models.checkpoints import SHOWN, load_weights
from training.models.promptable import PromptableModel
from training.models.published_promptable import is_published, load_published
from training.settings import settings_of

TASK = "promptable"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedNames:
    """What a file of the published model calls its weights, as far as no description says it.

    Attributes:
        called: As for :func:`training.models.published_promptable.load_published`.
        ignored: Likewise.
    """

    called: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def load_promptable(
    path: str | Path, *, config_file: str | Path | None = None, overrides: Iterable[str] = ()
) -> tuple[PromptableModel, TrainConfig]:
    """A promptable model and how it is asked.

    Args:
        path: A checkpoint of our training; a file of the published model, beside which lies one that says what some of
            its weights are called, see :func:`names_beside`; or any file that
            :func:`training.models.checkpoints.load_weights` reads, with a file that says what network it is of.
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
    if is_published(path):
        _load_published(model, path)
    else:
        load_weights(model, path)
    return model.eval(), config


def names_beside(path: Path) -> PublishedNames:
    """What is said in the file ``NAME.names.yaml`` beside a file ``NAME``: ``called`` and ``ignored``, where needed.

    Args:
        path: Of the published model.

    Raises:
        CheckpointError: when it holds something else.
    """
    file = _names_file(path)
    if not file.exists():
        return PublishedNames()
    try:
        held = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is not YAML: {error}") from error
    if not isinstance(held, Mapping) or held.keys() - {"called", "ignored"}:
        raise CheckpointError(f"{file} may hold called and ignored, got {held!r}")
    called, ignored = held.get("called") or {}, held.get("ignored") or []
    if not isinstance(called, Mapping) or not all(isinstance(name, str) for pair in called.items() for name in pair):
        raise CheckpointError(f"{file}: called must map names of ours to names in {path.name}, got {called!r}")
    if not isinstance(ignored, list) or not all(isinstance(name, str) for name in ignored):
        raise CheckpointError(f"{file}: ignored must be a list of what names begin with, got {ignored!r}")
    return PublishedNames(called, tuple(ignored))


def _load_published(model: PromptableModel, path: Path) -> None:
    names = names_beside(path)
    try:
        report = load_published(model, path, called=names.called, ignored=names.ignored)
    except ValueError as error:
        raise CheckpointError(
            f"{error}. It is taken for the published model; what its weights are called is said in "
            f"{_names_file(path)}: under called: a line OURS: THEIRS each, under ignored: a list of what names begin "
            "with that have no place"
        ) from error
    log.warning("%s is of the published model. Taken for granted: %s", path, "; ".join(report.assumed))
    log.warning(
        "%s: %d weights are set; %d of the points of a prompt are ours alone and have no effect; %d have no place: %s",
        path,
        len(report.loaded),
        len(report.fresh),
        len(report.left_out),
        ", ".join(report.left_out[:SHOWN]) + (" ..." if len(report.left_out) > SHOWN else "") or "none",
    )


def _names_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.names.yaml")

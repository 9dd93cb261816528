"""A whole training run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dico.config_loading import load_dataclass, require
from training.config.automatic import AutomaticConfig
from training.config.data import DataConfig
from training.config.inference import EvaluationConfig, InferenceConfig
from training.config.losses import LossConfig
from training.config.models import ModelConfig, PromptableConfig
from training.config.optim import OptimConfig
from training.config.prompts import PromptConfig
from training.config.rules import require_choice


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run learns, and what it writes; ``configs/training`` has examples."""

    task: str = "whole_image"
    """``whole_image``: a network that finds all masks of an image; ``promptable``: one that is asked with clicks and
    boxes."""
    output: str = "out/train"
    """Folder for checkpoints and logs."""
    seed: int = 0
    """Of every random choice: first weights, order of images, crops, points of the losses."""
    engine: str = "torch"
    """``torch``: processes of this machine; ``ray``: workers of a Ray cluster; ``detectron2``: its trainer."""
    device: str = "auto"
    """``auto`` takes a GPU when there is one; or ``cpu``, ``cuda``, ``mps``."""
    weights: str = ""
    """A whole model to start from: a file or a folder that :func:`training.models.checkpoints.load_weights` reads."""
    backbone_weights: str = ""
    """A backbone to start from, such as DINO's ResNet-50; not together with ``weights``."""
    log_every: int = 20
    """Steps between two lines of the log."""
    checkpoint_every: int = 5_000
    """Steps between two checkpoints; there is one at the end, too."""
    keep_checkpoints: int = 2
    """The newest so many checkpoints are kept, and the last."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network of ``whole_image``."""
    promptable: PromptableConfig = field(default_factory=PromptableConfig)
    """The network of ``promptable``."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    """What it is asked in training."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What training lowers."""
    data: DataConfig = field(default_factory=DataConfig)
    """What it learns from."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How it learns."""
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    """How the model is asked when it is measured, and by default afterwards."""
    automatic: AutomaticConfig = field(default_factory=AutomaticConfig)
    """How a promptable model is asked for all masks of an image."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """What is measured."""

    def __post_init__(self) -> None:
        require_choice("task", self.task, ("whole_image", "promptable"))
        require_choice("engine", self.engine, ("torch", "ray", "detectron2"))
        for name in ("log_every", "checkpoint_every", "keep_checkpoints"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        require(self.seed >= 0, "seed", "at least 0", self.seed)
        answers = f"at most promptable.masks_per_prompt={self.promptable.masks_per_prompt}"
        fits = self.prompts.targets <= self.promptable.masks_per_prompt
        require(fits, "prompts.targets", answers, self.prompts.targets)
        both = bool(self.weights and self.backbone_weights)
        require(not both, "backbone_weights", "empty where weights are given", self.backbone_weights)


def load_train_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> TrainConfig:
    """The defaults, changed by a YAML file, changed by ``section.key=value`` overrides.

    Args:
        path: YAML file that holds only what differs from the defaults; None for no file.
        overrides: Strings such as ``"optim.lr=1e-4"``; values are read as YAML.

    Returns:
        A validated TrainConfig.

    Raises:
        FileNotFoundError, KeyError, ValueError, TypeError: as :func:`dico.config_loading.load_dataclass` does.

    Example:
        >>> load_train_config(overrides=["optim.lr=1e-4"]).optim.lr
        0.0001
    """
    return load_dataclass(TrainConfig, path, overrides)

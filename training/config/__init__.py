"""The configuration of training: one frozen dataclass a part, each default said once, here."""

from __future__ import annotations

from training.config.automatic import AutomaticConfig
from training.config.backbones import TINY_GROUPS, ResNetConfig, SwinConfig, TinyConfig
from training.config.data import DataConfig
from training.config.inference import EvaluationConfig, InferenceConfig
from training.config.losses import LossConfig
from training.config.models import GROUPS, ModelConfig, PixelConfig, PromptableConfig
from training.config.optim import PRECISIONS, OptimConfig
from training.config.prompts import PromptConfig
from training.config.run import TrainConfig, load_train_config

__all__ = [
    "GROUPS",
    "PRECISIONS",
    "TINY_GROUPS",
    "AutomaticConfig",
    "DataConfig",
    "EvaluationConfig",
    "InferenceConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "PixelConfig",
    "PromptConfig",
    "PromptableConfig",
    "ResNetConfig",
    "SwinConfig",
    "TinyConfig",
    "TrainConfig",
    "load_train_config",
]

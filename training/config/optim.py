"""How the weights are changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dico.config_loading import require
from training.config.rules import require_choice

PRECISIONS = ("float32", "bfloat16", "float16")
"""What a network may compute in."""


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are changed: AdamW, a warm-up, and a schedule. Defaults as published for a batch of 16."""

    steps: int = 50_000
    """Training ends after so many steps (8 epochs of 0.1 million images)."""
    batch_size: int = 16
    """Images a step, over all processes together; a multiple of their number."""
    lr: float = 5e-5
    """Learning rate (released configuration: 1e-6)."""
    backbone_factor: float = 0.1
    """The backbone learns at this share of it."""
    weight_decay: float = 0.05
    """Of all weights but those of norms, embeddings and biases of position."""
    clip_norm: float = 0.01
    """The norm of the gradient of the whole model is at most this; 0 leaves it as it is."""
    warmup_steps: int = 0
    """The learning rate rises in a line over so many steps."""
    schedule: str = "step"
    """``step``: falls at ``drops``; ``cosine``: falls to zero at the end; ``constant``."""
    drops: tuple[float, ...] = (8 / 9, 26 / 27)
    """For ``step``: at these shares of the steps,"""
    drop_factor: float = 0.1
    """the learning rate is multiplied by this."""
    precision: str = "float32"
    """Arithmetic of the network: ``float32``, ``bfloat16`` or ``float16`` (the last with loss scaling). Weights,
    matching and losses are float32 always."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            require(getattr(self, name) >= 1, f"optim.{name}", "at least 1", getattr(self, name))
        require(0 < self.lr < math.inf, "optim.lr", "above 0", self.lr)
        for name in ("backbone_factor", "weight_decay", "clip_norm", "warmup_steps"):
            require(0 <= getattr(self, name) < math.inf, f"optim.{name}", "at least 0", getattr(self, name))
        require_choice("optim.schedule", self.schedule, ("step", "cosine", "constant"))
        rising = all(0 < drop < 1 for drop in self.drops) and list(self.drops) == sorted(self.drops)
        require(rising, "optim.drops", "rising shares of the steps, within (0, 1)", self.drops)
        require(0 < self.drop_factor <= 1, "optim.drop_factor", "within (0, 1]", self.drop_factor)
        require_choice("optim.precision", self.precision, PRECISIONS)

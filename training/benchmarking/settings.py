"""What a benchmark measures, and how much of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.config import TrainConfig, load_train_config


@dataclass(frozen=True)
class BenchmarkSettings:
    """What is measured; figures of equal settings can be compared."""

    whole_image_config: str
    """The training configuration of the whole-image network; for inference, and for training unless another is
    given."""
    promptable_config: str
    """That of the network that is clicked."""
    training_config: str
    """That which is trained."""
    overrides: tuple[str, ...] = ()
    """Settings such as ``optim.batch_size=4``, beside ``training_config`` and wherever that file is used."""
    checkpoint: str = ""
    """A trained network, in place of random weights of its kind."""
    images: str = ""
    """The folder of the photographs that are labelled; empty for those that come with scikit-image."""
    device: str = "auto"
    """Of the networks: ``auto``, ``cpu``, ``cuda`` or ``mps``."""
    workers: int = 0
    """Processes that label at the same time; 0 for as many as the machine has room for."""
    photographs: int = 5
    """So many are labelled,"""
    passes: int = 2
    """so often,"""
    photograph_side: int = 0
    """made smaller so that the longer side has so many pixels; 0 leaves them as they are."""
    size_hw: tuple[int, int] = (480, 640)
    """Height and width of the drawn images that networks see."""
    scenes: int = 16
    """Training is from so many of them,"""
    shapes: int = 200
    """with so many masks each."""
    steps: int = 12
    """Steps of training that count,"""
    warmup_steps: int = 3
    """after so many that do not."""
    runs: int = 15
    """How often inference and each kind of click are repeated."""
    points_per_side: int = 32
    """The grid of clicks that asks for all masks."""
    quick: bool = False
    """Whether sizes are those of :data:`QUICK`."""

    def config_of(self, path: str) -> TrainConfig:
        """A training configuration, with the settings beside it where it is the one that is trained.

        Args:
            path: One of the three.

        Raises:
            FileNotFoundError, KeyError, ValueError, TypeError: as :func:`training.config.load_train_config` does.
        """
        return load_train_config(path, self.overrides if path == self.training_config else ())

    def described(self) -> dict[str, Any]:
        """They as JSON-ready values that are equal where the same is measured, on whatever machine.

        Files are told by their names and contents, not by where they lie.
        """
        named = ("whole_image_config", "promptable_config", "training_config", "checkpoint", "images")
        plain = asdict(self) | {name: _named(getattr(self, name)) for name in named}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def _named(path: str) -> str:
    """The name of a file or folder, with a digest of what is in it."""
    if not path:
        return ""
    file = Path(path)
    files = [file] if file.is_file() else sorted(inner for inner in file.rglob("*") if inner.is_file())
    digest = hashlib.sha256()
    for inner in files:
        digest.update(hashlib.sha256(inner.read_bytes()).digest())
    return f"{file.name} ({digest.hexdigest()[:12]})"


QUICK = {
    "photographs": 2, "passes": 1, "photograph_side": 96, "size_hw": (60, 90), "scenes": 2, "shapes": 8, "steps": 2,
    "warmup_steps": 1, "runs": 2, "points_per_side": 3, "workers": 1, "quick": True,
}  # fmt: skip
"""In place of the defaults, to see that everything works; what that measures says nothing of a machine."""

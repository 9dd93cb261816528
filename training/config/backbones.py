"""The backbones: their widths and depths."""

from __future__ import annotations

from dataclasses import dataclass

from dico.config_loading import require
from training.config.rules import require_stages

TINY_GROUPS = 8
"""Groups of the norms in the tiny backbone."""


@dataclass(frozen=True)
class ResNetConfig:
    """``backbone: resnet50``; the defaults are ResNet-50's."""

    stem: int = 64
    """Channels after the first convolution."""
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    """Channels of the four stages; the narrow part of a block has a quarter of them."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of the four stages."""
    frozen_norm: bool = True
    """Batch norms keep the statistics, scale and shift of the weights that training starts from (published). False
    for a start from scratch, where there is nothing to keep; of several processes, each then norms its own share of a
    batch."""

    def __post_init__(self) -> None:
        require(self.stem >= 1, "model.resnet.stem", "at least 1", self.stem)
        require_stages("model.resnet.widths", self.widths, divisor=4)
        require_stages("model.resnet.depths", self.depths)


@dataclass(frozen=True)
class SwinConfig:
    """``backbone: swin_t``; the defaults are Swin-T's."""

    width: int = 96
    """Channels of the first stage; each stage has twice those of the last."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks of the four stages."""
    heads: tuple[int, ...] = (3, 6, 12, 24)
    """Attention heads of the four stages."""
    window: int = 7
    """Side of an attention window, in cells."""
    mlp_ratio: float = 4.0
    """How much wider the middle of a block's MLP is."""
    drop_path: float = 0.3
    """Chance that training leaves out the last block's branches; earlier blocks' rise to it in a line."""

    def __post_init__(self) -> None:
        require_stages("model.swin.depths", self.depths)
        require_stages("model.swin.heads", self.heads)
        fits = all(self.width * 2**stage % heads == 0 for stage, heads in enumerate(self.heads))
        require(fits and self.width >= 1, "model.swin.width", f"a multiple of the heads {self.heads}", self.width)
        require(self.window >= 2, "model.swin.window", "at least 2", self.window)
        require(self.mlp_ratio > 0, "model.swin.mlp_ratio", "above 0", self.mlp_ratio)
        require(0 <= self.drop_path < 1, "model.swin.drop_path", "within [0, 1)", self.drop_path)


@dataclass(frozen=True)
class TinyConfig:
    """``backbone: tiny``: a few convolutions, for tests and for machines without a GPU."""

    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels of the four stages."""

    def __post_init__(self) -> None:
        require_stages("model.tiny.widths", self.widths, divisor=TINY_GROUPS)

"""The configuration of training: one frozen dataclass a part, each default said once, here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from dico.config import require

GROUPS = 32
"""Groups of the norms in the pixel decoder, as published; the width must be a multiple."""
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
    for a start from scratch, where there is nothing to keep."""

    def __post_init__(self) -> None:
        require(self.stem >= 1, "model.resnet.stem", "at least 1", self.stem)
        _require_stages("model.resnet.widths", self.widths, divisor=4)
        _require_stages("model.resnet.depths", self.depths)


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
        _require_stages("model.swin.depths", self.depths)
        _require_stages("model.swin.heads", self.heads)
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
        _require_stages("model.tiny.widths", self.widths, divisor=TINY_GROUPS)


@dataclass(frozen=True)
class ModelConfig:
    """The whole-image segmenter (Cheng et al. 2022, Mask2Former)."""

    backbone: str = "resnet50"
    """``resnet50``, ``swin_t`` or ``tiny``."""
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    """Options of ``resnet50``."""
    swin: SwinConfig = field(default_factory=SwinConfig)
    """Options of ``swin_t``."""
    tiny: TinyConfig = field(default_factory=TinyConfig)
    """Options of ``tiny``."""
    queries: int = 300
    """At most so many masks an image (published: 2,000); time and memory grow with it."""
    classes: int = 1
    """Classes besides "no object". Weights that know more than one are read, and their classes taken together."""
    width: int = 256
    """Channels of both decoders and of the mask features."""
    heads: int = 8
    """Attention heads of both decoders."""
    encoder_layers: int = 6
    """Layers of deformable attention in the pixel decoder."""
    encoder_points: int = 4
    """Where a head of deformable attention looks on each level."""
    encoder_feedforward: int = 1024
    """Channels in the middle of the feed-forward parts of the pixel decoder."""
    decoder_layers: int = 9
    """Layers of masked attention in the mask decoder; levels take turns, so a multiple of 3 is even."""
    decoder_feedforward: int = 2048
    """Channels in the middle of the feed-forward parts of the mask decoder."""
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    """Subtracted from red, green and blue, 0 to 255; ImageNet's, as for every public backbone."""
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)
    """What the difference is divided by."""

    def __post_init__(self) -> None:
        names = ("resnet50", "swin_t", "tiny")
        require(self.backbone in names, "model.backbone", f"one of {', '.join(names)}", self.backbone)
        norms = f"a multiple of {GROUPS}, the groups of its norms"
        require(self.width >= GROUPS and self.width % GROUPS == 0, "model.width", norms, self.width)
        require(self.heads >= 1, "model.heads", "at least 1", self.heads)
        require(self.width % self.heads == 0, "model.heads", f"a divisor of model.width={self.width}", self.heads)
        for name in ("queries", "classes", "encoder_points", "encoder_feedforward", "decoder_feedforward"):
            require(getattr(self, name) >= 1, f"model.{name}", "at least 1", getattr(self, name))
        for name in ("encoder_layers", "decoder_layers"):
            require(getattr(self, name) >= 0, f"model.{name}", "at least 0", getattr(self, name))
        for name in ("pixel_mean", "pixel_std"):
            require(len(getattr(self, name)) == 3, f"model.{name}", "three numbers", getattr(self, name))
        require(all(value > 0 for value in self.pixel_std), "model.pixel_std", "above 0", self.pixel_std)


@dataclass(frozen=True)
class LossConfig:
    """The matching of predictions with targets, and the losses (Cheng et al. 2022, Sec. 3.2 and 3.3)."""

    class_weight: float = 2.0
    """Weight of the cross-entropy of the class, in the matching and in the loss."""
    mask_weight: float = 5.0
    """Weight of the binary cross-entropy of the mask, in both."""
    dice_weight: float = 5.0
    """Weight of the dice loss of the mask, in both."""
    no_object_weight: float = 0.1
    """Weight of a query without a target in the cross-entropy of the class; one with a target has 1."""
    points: int = 12_544
    """Masks are compared at so many points: 112 x 112."""
    oversample: float = 3.0
    """The loss draws this many times as many candidates and takes the most uncertain of them,"""
    importance: float = 0.75
    """for this share of its points; the others are drawn anew."""
    drop_iou: float = 0.0
    """DropLoss (Wang et al. 2023, Sec. 3.3): a prediction whose IoU with its target is at most this takes no mask loss,
    as the label may be wrong (published: 0.01). Over the cells of the prediction; 0 leaves it out."""

    def __post_init__(self) -> None:
        for name in ("class_weight", "mask_weight", "dice_weight"):
            require(0 <= getattr(self, name) < math.inf, f"loss.{name}", "finite and at least 0", getattr(self, name))
        require(0 < self.no_object_weight < math.inf, "loss.no_object_weight", "above 0", self.no_object_weight)
        require(self.points >= 1, "loss.points", "at least 1", self.points)
        require(1 <= self.oversample < math.inf, "loss.oversample", "finite and at least 1", self.oversample)
        require(0 <= self.importance <= 1, "loss.importance", "within [0, 1]", self.importance)
        require(0 <= self.drop_iou < 1, "loss.drop_iou", "within [0, 1)", self.drop_iou)


def _require_stages(name: str, values: Sequence[int], *, divisor: int = 1) -> None:
    rule = f"four positive multiples of {divisor}" if divisor > 1 else "four positive numbers"
    require(len(values) == 4 and all(v >= 1 and v % divisor == 0 for v in values), name, rule, values)

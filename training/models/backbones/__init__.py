"""The networks that see the image first; parameters are named as in Hugging Face's files."""

from __future__ import annotations

from training.config import PixelConfig
from training.models.backbones.base import Backbone
from training.models.backbones.resnet import ResNet
from training.models.backbones.swin import Swin
from training.models.backbones.tiny import Tiny

__all__ = ["Backbone", "build_backbone"]


def build_backbone(config: PixelConfig) -> Backbone:
    """The backbone that a configuration names, its weights freshly drawn.

    Args:
        config: Name and options.

    Returns:
        A Backbone.

    Example:
        >>> build_backbone(PixelConfig(backbone="tiny")).channels
        (32, 64, 96, 128)
    """
    if config.backbone == "resnet50":
        return ResNet(config.resnet)
    if config.backbone == "swin_t":
        return Swin(config.swin)
    return Tiny(config.tiny)

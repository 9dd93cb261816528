"""The networks."""

from __future__ import annotations

from dataclasses import dataclass, field

from dico.config_loading import require
from training.config.backbones import ResNetConfig, SwinConfig, TinyConfig
from training.config.rules import require_choice

GROUPS = 32
"""Groups of the norms in the pixel decoder, as published; the width must be a multiple."""


@dataclass(frozen=True)
class PixelConfig:
    """What both segmenters begin with: a backbone and the pixel decoder."""

    SECTION = "model"  # without a type: no field, but what messages call the section

    backbone: str = "resnet50"
    """``resnet50``, ``swin_t`` or ``tiny``."""
    resnet: ResNetConfig = field(default_factory=ResNetConfig)
    """Options of ``resnet50``."""
    swin: SwinConfig = field(default_factory=SwinConfig)
    """Options of ``swin_t``."""
    tiny: TinyConfig = field(default_factory=TinyConfig)
    """Options of ``tiny``."""
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
    """Layers of the decoder of queries."""
    decoder_feedforward: int = 2048
    """Channels in the middle of the feed-forward parts of the decoder of queries."""
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    """Subtracted from red, green and blue, 0 to 255; ImageNet's, as for every public backbone."""
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)
    """What the difference is divided by."""

    def __post_init__(self) -> None:
        section = self.SECTION
        require_choice(f"{section}.backbone", self.backbone, ("resnet50", "swin_t", "tiny"))
        norms = f"a multiple of {GROUPS}, the groups of its norms"
        require(self.width >= GROUPS and self.width % GROUPS == 0, f"{section}.width", norms, self.width)
        require(self.heads >= 1, f"{section}.heads", "at least 1", self.heads)
        divides = f"a divisor of {section}.width={self.width}"
        require(self.width % self.heads == 0, f"{section}.heads", divides, self.heads)
        for name in ("encoder_points", "encoder_feedforward", "decoder_feedforward"):
            require(getattr(self, name) >= 1, f"{section}.{name}", "at least 1", getattr(self, name))
        for name in ("encoder_layers", "decoder_layers"):
            require(getattr(self, name) >= 0, f"{section}.{name}", "at least 0", getattr(self, name))
        for name in ("pixel_mean", "pixel_std"):
            require(len(getattr(self, name)) == 3, f"{section}.{name}", "three numbers", getattr(self, name))
        require(all(value > 0 for value in self.pixel_std), f"{section}.pixel_std", "above 0", self.pixel_std)


@dataclass(frozen=True)
class ModelConfig(PixelConfig):
    """The whole-image segmenter (Cheng et al. 2022, Mask2Former).

    Its decoder's layers are of masked attention; levels take turns, so a multiple of 3 of them is even.
    """

    queries: int = 300
    """At most so many masks an image (published: 2,000); time and memory grow with it."""
    classes: int = 1
    """Classes besides "no object". Weights that know more than one are read, and their classes taken together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queries", "classes"):
            require(getattr(self, name) >= 1, f"model.{name}", "at least 1", getattr(self, name))


@dataclass(frozen=True)
class PromptableConfig(PixelConfig):
    """The promptable segmenter (Li et al. 2023, Semantic-SAM, without classes)."""

    SECTION = "promptable"

    backbone: str = "swin_t"
    """``resnet50``, ``swin_t`` or ``tiny``."""
    masks_per_prompt: int = 6
    """One prompt gives so many masks, from part to whole."""
    decoder_points: int = 4
    """Where a head of the decoder's deformable attention looks on each level."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("masks_per_prompt", "decoder_layers", "decoder_points"):
            require(getattr(self, name) >= 1, f"promptable.{name}", "at least 1", getattr(self, name))

"""What both segmenters begin with: images are normalised, seen by a backbone, and decoded into maps.

Axes: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.config import PixelConfig
from training.models.backbones import build_backbone
from training.models.pixel_decoder import PixelDecoder, PixelFeatures


class PixelLevel(nn.Module):
    """A backbone and the pixel decoder.

    Args:
        config: Of either segmenter.
        coarser: As for :class:`PixelDecoder`.
    """

    def __init__(self, config: PixelConfig, *, coarser: bool = False) -> None:
        super().__init__()
        self.encoder = build_backbone(config)
        self.decoder = PixelDecoder(config, self.encoder.channels, coarser=coarser)

    def forward(self, images_B3HW: Tensor) -> PixelFeatures:
        """The features of normalised float images."""
        pixels: PixelFeatures = self.decoder(self.encoder(images_B3HW))
        return pixels


class Segmenter(nn.Module):
    """A network that takes bytes, and knows the mean and the deviation that its weights were trained with.

    Args:
        config: Of either segmenter.
    """

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        for name in ("pixel_mean", "pixel_std"):
            self.register_buffer(name, torch.tensor(getattr(config, name))[:, None, None], persistent=False)

    def normalise(self, images_B3HW: Tensor, sizes_hw: Sequence[tuple[int, int]] | None = None) -> Tensor:
        """Images as the backbone was trained with them, of the weights' dtype.

        Args:
            images_B3HW: uint8 RGB; or float, which are taken as normalised and stay as they are.
            sizes_hw: Height and width of each image without its padding at the right and the bottom, which becomes
                zeros after the normalisation; None when there is none. For uint8 images only.
        """
        if images_B3HW.dtype != torch.uint8:
            return images_B3HW
        normal_B3HW = (images_B3HW.float() - self.pixel_mean.float()) / self.pixel_std.float()
        for normal_3HW, (height, width) in zip(normal_B3HW, sizes_hw or (), strict=sizes_hw is not None):
            normal_3HW[:, height:] = 0
            normal_3HW[:, :, width:] = 0
        return normal_B3HW.to(self.pixel_mean.dtype)

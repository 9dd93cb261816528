"""The pixel decoder: levels of the backbone look at one another, then give the map that masks are made of.

Parameters are named as in Hugging Face's files of Mask2Former. Source: Cheng et al. 2022, Sec. 3.2.1 and 4.1; coarser
levels than the backbone's as in Zhu et al. 2021, Sec. 4.1.

Axes: B images, C channels, h w cells of a map, S cells of one level or of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import GROUPS, PixelConfig
from training.models.deform_attn import DeformableAttention, Sizes
from training.models.feed_forward import FeedForwardLayer
from training.models.positions import sine_positions

LEVELS = 3
"""The backbone's maps that take part in attention: those of strides 32, 16 and 8."""


@dataclass(frozen=True)
class PixelFeatures:
    """What decoders of queries look at.

    Attributes:
        mask_features_BChw: Stride 4; a mask is its dot product with a query's mask embedding.
        levels_BSC: The coarsest level first.
        sizes_hw: Height and width of each level.
    """

    mask_features_BChw: Tensor
    levels_BSC: tuple[Tensor, ...]
    sizes_hw: tuple[tuple[int, int], ...]


class PixelDecoder(nn.Module):
    """Deformable attention over strides 32, 16 and 8, and one step of a feature pyramid to stride 4.

    Args:
        config: Widths and numbers of layers.
        channels: Of the backbone's maps of strides 4, 8, 16 and 32.
        coarser: With a level of stride 64 as well, convolved from the backbone's last map.
    """

    def __init__(self, config: PixelConfig, channels: Sequence[int], *, coarser: bool = False) -> None:
        super().__init__()
        width = config.width
        # The names of the parameters follow from these attributes; the coarsest level comes first.
        self.coarser = coarser
        halving = [_xavier(nn.Conv2d(channels[-1], width, 3, stride=2, padding=1))] if coarser else []
        projections = [*halving, *(_xavier(nn.Conv2d(c, width, 1)) for c in reversed(channels[1:]))]
        self.input_projections = nn.ModuleList(
            nn.Sequential(projection, nn.GroupNorm(GROUPS, width)) for projection in projections
        )
        self.level_embed = nn.Parameter(torch.randn(len(projections), width))
        self.encoder = _Encoder(config, len(projections))
        lateral = _caffe2_xavier(nn.Conv2d(channels[0], width, 1, bias=False))
        smooth = _caffe2_xavier(nn.Conv2d(width, width, 3, padding=1, bias=False))
        self.adapter_1 = nn.Sequential(lateral, nn.GroupNorm(GROUPS, width))
        self.layer_1 = nn.Sequential(smooth, nn.GroupNorm(GROUPS, width), nn.ReLU())
        self.mask_projection = _caffe2_xavier(nn.Conv2d(width, width, 1))

    def forward(self, maps_BChw: Sequence[Tensor]) -> PixelFeatures:
        """The features that masks are made of.

        Args:
            maps_BChw: The backbone's, of strides 4, 8, 16 and 32.

        Returns:
            PixelFeatures of the configured width.
        """
        coarse_first = [*([maps_BChw[-1]] if self.coarser else []), *reversed(maps_BChw[1:])]
        projected = [project(level) for project, level in zip(self.input_projections, coarse_first, strict=True)]
        sizes_hw = tuple((level.shape[2], level.shape[3]) for level in projected)
        cells_BSC = torch.cat([level.flatten(2).transpose(1, 2) for level in projected], dim=1)
        positions_SC = torch.cat(
            [
                sine_positions(size_hw, cells_BSC.shape[2], cells_BSC.device) + embedding_C
                for size_hw, embedding_C in zip(sizes_hw, self.level_embed, strict=True)
            ]
        ).to(cells_BSC.dtype)
        levels_BSC = torch.split(self.encoder(cells_BSC, positions_SC, sizes_hw), [h * w for h, w in sizes_hw], dim=1)
        finest_BChw = levels_BSC[-1].transpose(1, 2).reshape(projected[-1].shape)
        lateral_BChw = self.adapter_1(maps_BChw[0])
        raised_BChw = functional.interpolate(finest_BChw, size=lateral_BChw.shape[-2:], mode="bilinear")
        mask_features_BChw = self.mask_projection(self.layer_1(lateral_BChw + raised_BChw))
        return PixelFeatures(mask_features_BChw, tuple(levels_BSC), sizes_hw)


class _Encoder(nn.Module):
    def __init__(self, config: PixelConfig, levels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config, levels) for _ in range(config.encoder_layers))

    def forward(self, cells_BSC: Tensor, positions_SC: Tensor, sizes_hw: Sizes) -> Tensor:
        places_S2 = torch.cat([_centres(size_hw, cells_BSC.device) for size_hw in sizes_hw])
        for layer in self.layers:
            cells_BSC = layer(cells_BSC, positions_SC, places_S2, sizes_hw)
        return cells_BSC


class _Layer(FeedForwardLayer):
    def __init__(self, config: PixelConfig, levels: int) -> None:
        super().__init__()
        width = config.width
        self.self_attn = DeformableAttention(width, config.heads, levels, config.encoder_points)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.add_feed_forward(width, config.encoder_feedforward)

    def forward(self, cells_BSC: Tensor, positions_SC: Tensor, places_S2: Tensor, sizes_hw: Sizes) -> Tensor:
        seen_BSC = self.self_attn(cells_BSC + positions_SC, places_S2, cells_BSC, sizes_hw)
        cells_BSC = self.self_attn_layer_norm(cells_BSC + seen_BSC)
        return self.feed_forward(cells_BSC)


def _centres(size_hw: tuple[int, int], device: torch.device) -> Tensor:
    y, x = ((torch.arange(side, device=device) + 0.5) / side for side in size_hw)
    h, w = size_hw
    return torch.stack((x.expand(h, w), y[:, None].expand(h, w)), dim=-1).flatten(0, 1)


def _xavier(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution with its weights drawn as published for projections of the backbone's maps."""
    nn.init.xavier_uniform_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def _caffe2_xavier(convolution: nn.Conv2d) -> nn.Conv2d:
    """The same for all other convolutions: what Caffe2 called Xavier counts the inputs alone."""
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution

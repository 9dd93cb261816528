"""Residual networks with narrow middles (He et al. 2016), ResNet-50 first of all.

The stride of a block is in its 3x3 convolution, as in all weights published since 2017. Parameters are named as in
Hugging Face's files.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import ResNetConfig
from training.models.backbones.base import Backbone


class FrozenBatchNorm(nn.BatchNorm2d):
    """A batch norm whose statistics, scale and shift stay as they are, in training too.

    Batches of a few large images say little about the statistics, so published recipes keep those of the pretraining.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.weight.requires_grad_(False)
        self.bias.requires_grad_(False)
        self.training = False

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Nothing changes."""
        return self

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What the norm multiplies by, and then adds, for each channel."""
        if self.running_var is None or self.running_mean is None:
            raise RuntimeError("a frozen batch norm must have running statistics")
        scale_C = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale_C, self.bias - self.running_mean * scale_C


class ResNet(Backbone):
    """A stem of stride 4 and four stages.

    Args:
        config: Widths, depths, and whether norms are frozen.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.channels = config.widths
        frozen = config.frozen_norm
        self.embedder = nn.ModuleDict({"embedder": _Convolution(3, config.stem, 7, stride=2, frozen=frozen)})
        stages = []
        before = config.stem
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            blocks = [_Block(before, width, stride=1 if stage == 0 else 2, frozen=frozen)]
            blocks += [_Block(width, width, stride=1, frozen=frozen) for _ in range(depth - 1)]
            stages.append(nn.ModuleDict({"layers": nn.Sequential(*blocks)}))
            before = width
        self.encoder = nn.ModuleDict({"stages": nn.ModuleList(stages)})

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, ...]:
        """The maps of strides 4, 8, 16 and 32; see :class:`Backbone`."""
        hidden_BChw = functional.relu(self.embedder["embedder"](images_B3HW), inplace=True)
        hidden_BChw = functional.max_pool2d(hidden_BChw, 3, stride=2, padding=1)
        maps = []
        for stage in self.encoder["stages"].children():
            hidden_BChw = stage["layers"](hidden_BChw)  # type: ignore[index]
            maps.append(hidden_BChw)
        return tuple(maps)


class _Block(nn.Module):
    def __init__(self, before: int, after: int, *, stride: int, frozen: bool) -> None:
        super().__init__()
        narrow = after // 4
        self.layer = nn.Sequential(
            _Convolution(before, narrow, 1, frozen=frozen),
            _Convolution(narrow, narrow, 3, stride=stride, frozen=frozen),
            _Convolution(narrow, after, 1, frozen=frozen),
        )
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != 1:
            self.shortcut = _Convolution(before, after, 1, stride=stride, frozen=frozen)

    def forward(self, hidden_BChw: Tensor) -> Tensor:
        reduce, look, expand = self.layer
        inside_BChw = functional.relu(reduce(hidden_BChw), inplace=True)
        inside_BChw = functional.relu(look(inside_BChw), inplace=True)
        return functional.relu(expand(inside_BChw) + self.shortcut(hidden_BChw), inplace=True)


class _Convolution(nn.Module):
    def __init__(self, before: int, after: int, side: int, *, stride: int = 1, frozen: bool) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, side, stride=stride, padding=side // 2, bias=False)
        self.normalization = FrozenBatchNorm(after) if frozen else nn.BatchNorm2d(after)
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, hidden_BChw: Tensor) -> Tensor:
        convolution, norm = self.convolution, self.normalization
        if not isinstance(norm, FrozenBatchNorm):
            normed_BChw: Tensor = norm(convolution(hidden_BChw))
            return normed_BChw
        # A frozen norm is linear: it goes into the convolution, which saves a pass over the map.
        scale_C, shift_C = norm.scale_and_shift()
        weight = convolution.weight * scale_C[:, None, None, None]
        return functional.conv2d(hidden_BChw, weight, shift_C, convolution.stride, convolution.padding)

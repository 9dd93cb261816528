"""A backbone of a few convolutions: small enough to learn something on a CPU within minutes."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from training.config import TINY_GROUPS, TinyConfig
from training.models.backbones.base import Backbone


class Tiny(Backbone):
    """A stem of stride 2, then four stages that halve the sides and convolve once more.

    Args:
        config: Channels of the stages.
    """

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.channels = config.widths
        self.stem = _Convolution(3, config.widths[0], stride=2)
        before = (config.widths[0], *config.widths[:-1])
        self.stages = nn.ModuleList(_Stage(*sizes) for sizes in zip(before, config.widths, strict=True))

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, ...]:
        """The maps of strides 4, 8, 16 and 32; see :class:`Backbone`."""
        hidden_BChw = self.stem(images_B3HW)
        maps = []
        for stage in self.stages:
            hidden_BChw = stage(hidden_BChw)
            maps.append(hidden_BChw)
        return tuple(maps)


class _Stage(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.halve = _Convolution(before, after, stride=2)
        self.refine = _Convolution(after, after)

    def forward(self, hidden_BChw: Tensor) -> Tensor:
        halved_BChw: Tensor = self.halve(hidden_BChw)
        refined_BChw: Tensor = self.refine(halved_BChw)
        return halved_BChw + refined_BChw


class _Convolution(nn.Module):
    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.normalization = nn.GroupNorm(TINY_GROUPS, after)  # of one image: a batch of one learns, too
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, hidden_BChw: Tensor) -> Tensor:
        return functional.relu(self.normalization(self.convolution(hidden_BChw)))

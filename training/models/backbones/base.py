"""What every backbone gives."""

from __future__ import annotations

from torch import Tensor, nn


class Backbone(nn.Module):
    """A network that turns images into maps of strides 4, 8, 16 and 32.

    Attributes:
        channels: Channels of the four maps.
    """

    channels: tuple[int, ...]

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, ...]:
        """The maps, the finest first.

        Args:
            images_B3HW: Normalised float images.

        Returns:
            Four maps (B, C, h, w); sides are those of the image over the stride, rounded up.
        """
        raise NotImplementedError

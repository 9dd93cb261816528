"""Linear layers in a row: what a transformer's layer ends with, and what predictions are made with.

Axes: C channels.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


class FeedForwardLayer(nn.Module):
    """A layer that ends with two linear layers; their parameters are named as its own, as they are in public files."""

    def add_feed_forward(self, width: int, middle: int) -> None:
        """Makes the parameters, for the end of ``__init__``.

        Args:
            width: Channels of what comes in and out.
            middle: Channels between the two linear layers.
        """
        self.fc1 = nn.Linear(width, middle)
        self.fc2 = nn.Linear(middle, width)
        self.final_layer_norm = nn.LayerNorm(width)
        for linear in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)

    def feed_forward(self, hidden_C: Tensor) -> Tensor:
        """What comes in (..., C), with what the two make of it added, normed."""
        middle = functional.relu(self.fc1(hidden_C), inplace=True)
        normed_C: Tensor = self.final_layer_norm(hidden_C + self.fc2(middle))
        return normed_C


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between each two; each is in a container of its own, so names are ``0.0``, ``1.0``, ...

    Args:
        widths: Channels of what comes in, between, and out.

    Example:
        >>> [tuple(weight.shape) for name, weight in mlp(4, 8, 2).named_parameters() if name.endswith("weight")]
        [(8, 4), (2, 8)]
    """
    *hidden, last = (nn.Linear(before, after) for before, after in pairwise(widths))
    return nn.Sequential(*(nn.Sequential(linear, nn.ReLU()) for linear in hidden), nn.Sequential(last))

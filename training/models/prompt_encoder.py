"""What a prompt asks, as the content of its queries: one for each mask that it gives.

Source: Li et al. 2023 (Semantic-SAM), Sec. 3.2, for the sum of a base, a kind and a token of granularity. Deviation:
all points of a prompt, positive and negative, are a part of the content: where they are, and how it looks there.
Published models take one click, as an anchor alone.

Axes: B images, P prompts, K points, Q masks of a prompt, C channels, h w S cells; 2 = x, y.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import PromptableConfig
from training.models.feed_forward import mlp
from training.models.positions import sines
from training.prompts import PADDING, Prompts

KINDS, LABELS = 2, 2
WAVES = 16
"""Of the waves that say where points are, the shortest goes so often into the image."""


class PromptEncoder(nn.Module):
    """Prompts to the content of queries; where they look first is their anchor, which is no part of it.

    Args:
        config: Width, and masks a prompt.
    """

    def __init__(self, config: PromptableConfig) -> None:
        super().__init__()
        width = config.width
        self.base = nn.Embedding(1, width)
        self.kinds = nn.Embedding(KINDS, width)
        self.granularities = nn.Embedding(config.masks_per_prompt, width)
        self.labels = nn.Embedding(LABELS, width)
        self.point_places = mlp(2 * width, width, width)
        self.point_looks = nn.Linear(width, width)
        self.point_content = nn.Linear(width, width)
        self.pooled_points = nn.Linear(width, width)
        for module in (self.point_places, self.point_looks, self.point_content):
            for weight in (parameter for parameter in module.parameters() if parameter.ndim == 2):
                nn.init.xavier_uniform_(weight)
        # At first, and with weights that know of no points, a prompt's content is that of the published model.
        nn.init.zeros_(self.pooled_points.weight)
        nn.init.zeros_(self.pooled_points.bias)

    def forward(self, prompts: Prompts, features_BChw: Tensor) -> Tensor:
        """The content of the queries.

        Args:
            prompts: What is asked.
            features_BChw: The mask features, of the weights' dtype.

        Returns:
            (B, P, Q, C), of the same dtype.
        """
        asked_BPC = self.base.weight + self.kinds(prompts.kind_BP) + self._points(prompts, features_BChw)
        content_BPQC: Tensor = asked_BPC[:, :, None] + self.granularities.weight
        return content_BPQC

    def _points(self, prompts: Prompts, features_BChw: Tensor) -> Tensor:
        """All points of each prompt as one vector, whatever their order and however many places are padded."""
        centres_BP12 = prompts.boxes_BP4[:, :, None, :2]
        places_BPK4 = torch.cat((prompts.points_BPK2, prompts.points_BPK2 - centres_BP12), dim=-1)
        waves_BPKC = sines(places_BPK4 * WAVES, self.base.embedding_dim // 2).to(features_BChw.dtype)
        looks_BPKC = self.point_looks(cells_at(features_BChw, prompts.points_BPK2))
        labels_BPKC = self.labels(prompts.labels_BPK.clamp(min=0))
        hidden_BPKC = functional.relu(self.point_places(waves_BPKC) + looks_BPKC + labels_BPKC)
        points_BPKC = functional.relu(self.point_content(hidden_BPKC))
        # The largest and not the mean: no click makes another one count for less. Padding is zeros, as no points are.
        points_BPKC = points_BPKC * (prompts.labels_BPK != PADDING)[..., None].to(points_BPKC.dtype)
        pooled_BPC = functional.pad(points_BPKC, (0, 0, 0, 1)).amax(dim=2)
        content_BPC: Tensor = self.pooled_points(pooled_BPC)
        return content_BPC


def cells_at(map_BChw: Tensor, points_BPK2: Tensor) -> Tensor:
    """The cells of a map that hold points.

    Args:
        map_BChw: Of any dtype; gradients reach it.
        points_BPK2: float32, in [0, 1].

    Returns:
        (B, P, K, C).

    Example:
        >>> row_BChw = torch.tensor([[[[5.0, 6.0, 7.0, 8.0]]]])
        >>> cells_at(row_BChw, torch.tensor([[[[0.3, 0.5], [1.0, 0.0]]]])).flatten().tolist()
        [6.0, 8.0]
    """
    C, h, w = map_BChw.shape[1:]
    x_BPK, y_BPK = (
        (share_BPK * side).long().clamp(0, side - 1)
        for share_BPK, side in zip(points_BPK2.unbind(-1), (w, h), strict=True)
    )
    index_B1N = (y_BPK * w + x_BPK).flatten(1)[:, None]
    cells_BCN = map_BChw.flatten(2).gather(2, index_B1N.expand(-1, C, -1))
    return cells_BCN.transpose(1, 2).reshape(*points_BPK2.shape[:3], C)

"""What a prompt asks, as the content of its queries: one for each mask that it gives.

Source: Li et al. 2023 (Semantic-SAM), Sec. 3.2, for the sum of a base, a kind and a token of granularity. Deviation:
points besides the first, positive and negative, are a part of the content; published models take one click.

Axes: B images, P prompts, K points, Q masks of a prompt, C channels, 2 = x, y; 4 = centre x, centre y, width, height.
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
        self.point_content = nn.Linear(width, width)
        self.pooled_points = nn.Linear(width, width)
        # At first, and with weights that know of one click only, a prompt's content is that of the published model.
        nn.init.zeros_(self.pooled_points.weight)
        nn.init.zeros_(self.pooled_points.bias)

    def forward(self, prompts: Prompts) -> Tensor:
        """The content of the queries.

        Args:
            prompts: What is asked.

        Returns:
            (B, P, Q, C), of the weights' dtype.
        """
        asked_BPC = self.base.weight + self.kinds(prompts.kind_BP) + self._points(prompts)
        content_BPQC: Tensor = asked_BPC[:, :, None] + self.granularities.weight
        return content_BPQC

    def _points(self, prompts: Prompts) -> Tensor:
        """All points of each prompt as one vector, whatever their order and however many places are padded."""
        centres_BP12 = prompts.boxes_BP4[:, :, None, :2]
        places_BPK4 = torch.cat((prompts.points_BPK2, prompts.points_BPK2 - centres_BP12), dim=-1)
        waves_BPKC = sines(places_BPK4, self.base.embedding_dim // 2).to(self.base.weight.dtype)
        labelled_BPKC = self.point_places(waves_BPKC) + self.labels(prompts.labels_BPK.clamp(min=0))
        points_BPKC = functional.relu(self.point_content(functional.relu(labelled_BPKC)))
        # The largest and not the mean: no click makes another one count for less. Padding is zeros, as no points are.
        points_BPKC = points_BPKC * (prompts.labels_BPK != PADDING)[..., None].to(points_BPKC.dtype)
        pooled_BPC = functional.pad(points_BPKC, (0, 0, 0, 1)).amax(dim=2)
        content_BPC: Tensor = self.pooled_points(pooled_BPC)
        return content_BPC

"""Deformable attention: every query looks at a few points of every level that it chooses itself (Zhu et al. 2021).

In plain PyTorch, so that nothing is compiled to install it. A sample between four cells is a weighted sum of four rows
of a table, and so is the attention over all samples: one ``embedding_bag`` does both. Nothing of the size of queries x
points x channels is ever made, which is what the way over ``grid_sample`` spends its time and memory on.

Axes: B images, Q queries, S cells of all levels together, M heads, D channels of a head, L levels, P points,
C = M * D channels, 2 = x, y (of offsets and points) or the two cells on either side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Sizes = Sequence[tuple[int, int]]
"""Height and width of each level, in cells."""


def deformable_attention(value_BSMD: Tensor, sizes_hw: Sizes, points_BQMLP2: Tensor, weights_BQMLP: Tensor) -> Tensor:
    """What each query sees: for each head, the weighted sum of the values at its points, bilinearly interpolated.

    Args:
        value_BSMD: float (B, S, M, D); the levels one after the other, each row by row.
        sizes_hw: Heights and widths of the levels; their areas sum to S.
        points_BQMLP2: float (B, Q, M, L, P, 2): x and y as shares of the level's width and height. Cell centres lie at
            (i + 0.5) / w; what is outside of the level counts as zeros. Better float32 even where values are not.
        weights_BQMLP: float (B, Q, M, L, P).

    Returns:
        (B, Q, M * D), of the values' dtype.

    Raises:
        ValueError: when the sizes do not fit the values or the points.

    Example:
        >>> value = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
        >>> points = torch.tensor([[0.5, 0.5], [0.25, 0.5]]).view(1, 2, 1, 1, 1, 2)
        >>> deformable_attention(value, [(1, 2)], points, torch.ones(1, 2, 1, 1, 1)).flatten().tolist()
        [2.0, 1.0]
    """
    B, S, M, D = value_BSMD.shape
    areas = [h * w for h, w in sizes_hw]
    if sum(areas) != S or len(areas) != points_BQMLP2.shape[3]:
        levels = points_BQMLP2.shape[3]
        raise ValueError(f"sizes_hw must be {levels} levels of {S} cells together, got {list(sizes_hw)}")
    Q, device = points_BQMLP2.shape[1], value_BSMD.device
    # int32 is enough for B * S * M rows, and half the memory.
    extents_L12 = torch.tensor([(w, h) for h, w in sizes_hw], dtype=torch.int32, device=device)[:, None]
    starts_L = [sum(areas[:level]) for level in range(len(areas))]
    starts_L11 = torch.tensor(starts_L, dtype=torch.int32, device=device)[:, None, None]

    corners_BQMLP2 = points_BQMLP2 * extents_L12 - 0.5
    low_BQMLP2 = corners_BQMLP2.detach().floor()
    beyond_BQMLP2 = corners_BQMLP2 - low_BQMLP2
    # From here on 2 stands for the two cells on either side, first along y, then along x.
    cells = torch.stack((low_BQMLP2, low_BQMLP2 + 1), dim=-1).int()
    inside = (cells >= 0) & (cells < extents_L12[..., None])
    shares = torch.stack((1 - beyond_BQMLP2, beyond_BQMLP2), dim=-1) * inside
    cells = cells.clamp(min=0).minimum(extents_L12[..., None] - 1)
    shares_y = shares[..., 1, :] * weights_BQMLP[..., None]
    weights_BQMLP22 = shares_y[..., :, None] * shares[..., 0, None, :]
    rows_y = cells[..., 1, :] * extents_L12[..., :1] + starts_L11
    rows_BQMLP22 = rows_y[..., :, None] + cells[..., 0, None, :]

    heads_M = torch.arange(M, dtype=torch.int32, device=device)
    first_B = torch.arange(B, dtype=torch.int32, device=device) * (S * M)
    rows_BQMK = rows_BQMLP22.flatten(3) * M + heads_M[:, None] + first_B[:, None, None, None]
    seen = functional.embedding_bag(
        rows_BQMK.flatten(0, 2),
        value_BSMD.reshape(B * S * M, D),
        per_sample_weights=weights_BQMLP22.flatten(3).flatten(0, 2).to(value_BSMD.dtype),
        mode="sum",
    )
    return seen.view(B, Q, M * D)


class DeformableAttention(nn.Module):
    """Deformable attention with the projections around it; points and weights are linear in the query.

    Args:
        width: Channels of queries, values and result.
        heads: Attention heads.
        levels: Levels of the values.
        points: Points of each head on each level.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.shape = (heads, levels, points)
        samples = heads * levels * points
        self.sampling_offsets = nn.Linear(width, samples * 2)
        self.attention_weights = nn.Linear(width, samples)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As published: each head looks in its own direction, a cell further with each point, all points alike."""
        heads, levels, points = self.shape
        angles_M = torch.arange(heads) * (2 * math.pi / heads)
        directions_M2 = torch.stack((angles_M.cos(), angles_M.sin()), dim=-1)
        directions_M2 = directions_M2 / directions_M2.abs().amax(dim=-1, keepdim=True)
        steps_P1 = torch.arange(1, points + 1)[:, None]
        offsets_MLP2 = (directions_M2[:, None, None] * steps_P1).expand(heads, levels, points, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets_MLP2.flatten())
        for silent in (self.sampling_offsets.weight, self.attention_weights.weight, self.attention_weights.bias):
            nn.init.zeros_(silent)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query_BQC: Tensor, places_Q2: Tensor, value_BSC: Tensor, sizes_hw: Sizes) -> Tensor:
        """What the queries see.

        Args:
            query_BQC: float (B, Q, C), positions added.
            places_Q2: float32 (Q, 2): where each query is, x and y as shares of the image.
            value_BSC: float (B, S, C).
            sizes_hw: Heights and widths of the levels.

        Returns:
            float (B, Q, C).
        """
        heads, levels, points = self.shape
        B, Q, C = query_BQC.shape
        extents_L12 = query_BQC.new_tensor([(w, h) for h, w in sizes_hw], dtype=torch.float32)[:, None]
        # A coordinate in half precision would be off by whole cells of a large level.
        offsets_BQMLP2 = self.sampling_offsets(query_BQC).float().view(B, Q, heads, levels, points, 2)
        points_BQMLP2 = places_Q2[:, None, None, None] + offsets_BQMLP2 / extents_L12
        scores_BQMK = self.attention_weights(query_BQC).float().view(B, Q, heads, levels * points)
        weights_BQMLP = scores_BQMK.softmax(dim=-1).view(B, Q, heads, levels, points)
        value_BSMD = self.value_proj(value_BSC).view(B, -1, heads, C // heads)
        seen_BQC: Tensor = self.output_proj(deformable_attention(value_BSMD, sizes_hw, points_BQMLP2, weights_BQMLP))
        return seen_BQC

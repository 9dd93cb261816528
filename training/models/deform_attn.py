"""Deformable attention: every query looks at a few points of every level that it chooses itself (Zhu et al. 2021).

In plain PyTorch, so that nothing is compiled to install it. A sample between four cells is a weighted sum of four rows
of a table, and so is the attention over all samples: one ``embedding_bag`` does both. Nothing of the size of queries x
points x channels is ever made, which is what the way over ``grid_sample`` spends its time and memory on.

Axes: B images, Q queries, S cells of all levels together, M heads, D channels of a head, L levels, P points,
C = M * D channels, 2 = x, y; 4 = the cells around a point: above to the left and right, below to the left and right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.weighted_rows import weighted_rows

Sizes = Sequence[tuple[int, int]]
"""Height and width of each level, in cells."""
FRAME = 3
"""How much wider and higher a level is with its frame: one cell of zeros before it, and two behind."""


@dataclass(frozen=True, eq=False)
class FramedValues:
    """What queries look at: the levels in frames of zeros, so that no sample needs to be told from others.

    Attributes:
        table_BTMD: T cells of all levels with their frames, each row by row.
        sizes_hw: Heights and widths of the levels, without their frames.
    """

    table_BTMD: Tensor
    sizes_hw: Sizes


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
    S, levels = value_BSMD.shape[1], points_BQMLP2.shape[3]
    if sum(h * w for h, w in sizes_hw) != S or len(sizes_hw) != levels:
        raise ValueError(f"sizes_hw must be {levels} levels of {S} cells together, got {list(sizes_hw)}")
    return _look(_framed(value_BSMD, sizes_hw), points_BQMLP2, weights_BQMLP)


def _look(values: FramedValues, points_BQMLP2: Tensor, weights_BQMLP: Tensor) -> Tensor:
    table_BTMD, sizes_hw = values.table_BTMD, values.sizes_hw
    B, T, M, D = table_BTMD.shape
    Q, device = points_BQMLP2.shape[1], table_BTMD.device
    widths = [w + FRAME for _, w in sizes_hw]
    areas = [(h + FRAME) * (w + FRAME) for h, w in sizes_hw]
    starts = [sum(areas[:level]) for level in range(len(areas))]
    extents_L12 = points_BQMLP2.new_tensor([(w, h) for h, w in sizes_hw])[:, None]
    # Farther out than a cell beyond the edge there are zeros as well.
    places_BQMLP2 = (points_BQMLP2 * extents_L12 - 0.5).clamp(min=-1).minimum(extents_L12)
    # A value that is not a number must come out as one, and not as a look at some other memory.
    first_BQMLP2 = places_BQMLP2.detach().nan_to_num(nan=0.0).floor()
    right_BQMLP, down_BQMLP = (places_BQMLP2 - first_BQMLP2).unbind(-1)
    below_BQMLP = weights_BQMLP * down_BQMLP
    above_BQMLP = weights_BQMLP - below_BQMLP
    below_right, above_right = below_BQMLP * right_BQMLP, above_BQMLP * right_BQMLP
    corners = (above_BQMLP - above_right, above_right, below_BQMLP - below_right, below_right)
    weights_BQMLP4 = torch.stack(corners, dim=-1)

    # int32 is enough to count rows, and half the memory of the default.
    x_BQMLP, y_BQMLP = first_BQMLP2.int().unbind(-1)
    starts_L1, widths_L1 = (torch.tensor(n, dtype=torch.int32, device=device)[:, None] for n in (starts, widths))
    images_B = torch.arange(B, dtype=torch.int32, device=device) * T
    cells_BQMLP = (y_BQMLP + 1) * widths_L1 + (x_BQMLP + 1 + starts_L1) + images_B[:, None, None, None, None]
    heads_M = torch.arange(M, dtype=torch.int32, device=device)
    rows_BQMLP = cells_BQMLP * M + heads_M[:, None, None]
    steps_L14 = torch.stack((0 * widths_L1, 0 * widths_L1 + 1, widths_L1, widths_L1 + 1), dim=-1) * M
    rows_BQMLP4 = rows_BQMLP[..., None] + steps_L14
    weights = weights_BQMLP4.flatten(3).flatten(0, 2).to(table_BTMD.dtype)
    seen = weighted_rows(table_BTMD.view(-1, D), rows_BQMLP4.flatten(3).flatten(0, 2), weights)
    return seen.view(B, Q, M * D)


def _framed(value_BSMD: Tensor, sizes_hw: Sizes) -> FramedValues:
    B, _, M, D = value_BSMD.shape
    levels = torch.split(value_BSMD, [h * w for h, w in sizes_hw], dim=1)
    framed = [
        functional.pad(level.reshape(B, h, w, M * D), (0, 0, 1, 2, 1, 2)).flatten(1, 2)
        for level, (h, w) in zip(levels, sizes_hw, strict=True)
    ]
    return FramedValues(torch.cat(framed, dim=1).view(B, -1, M, D), sizes_hw)


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
            places_Q2: As for :meth:`look`.
            value_BSC: float (B, S, C).
            sizes_hw: Heights and widths of the levels.

        Returns:
            float (B, Q, C).
        """
        return self.look(query_BQC, places_Q2, self.values(value_BSC, sizes_hw))

    def values(self, value_BSC: Tensor, sizes_hw: Sizes) -> FramedValues:
        """What queries look at, for several calls of :meth:`look`; arguments as for calling."""
        B, S, C = value_BSC.shape
        heads = self.shape[0]
        return _framed(self.value_proj(value_BSC).view(B, S, heads, C // heads), sizes_hw)

    def look(self, query_BQC: Tensor, places_BQ4: Tensor, values: FramedValues) -> Tensor:
        """What the queries see.

        Args:
            query_BQC: float (B, Q, C), positions added.
            places_BQ4: float32 (..., Q, 2): where each query is, x and y as shares of the image; then an offset of one
                is one cell of a level. Or (..., Q, 4): boxes, by centre, width and height; then an offset as large
                as there are points is half a side of the box (Zhu et al. 2021, App. A.4).
            values: Of :meth:`values`.

        Returns:
            float (B, Q, C).
        """
        heads, levels, points = self.shape
        B, Q, _ = query_BQC.shape
        # A coordinate in half precision would be off by whole cells of a large level.
        offsets_BQMLP2 = self.sampling_offsets(query_BQC).float().view(B, Q, heads, levels, points, 2)
        if places_BQ4.shape[-1] == 2:
            extents_L12 = query_BQC.new_tensor([(w, h) for h, w in values.sizes_hw], dtype=torch.float32)[:, None]
            steps_BQMLP2 = offsets_BQMLP2 / extents_L12
        else:
            steps_BQMLP2 = offsets_BQMLP2 * (places_BQ4[..., None, None, None, 2:] / (2 * points))
        points_BQMLP2 = places_BQ4[..., None, None, None, :2] + steps_BQMLP2
        scores_BQMK = self.attention_weights(query_BQC).float().view(B, Q, heads, levels * points)
        weights_BQMLP = scores_BQMK.softmax(dim=-1).view(B, Q, heads, levels, points)
        seen_BQC: Tensor = self.output_proj(_look(values, points_BQMLP2, weights_BQMLP))
        return seen_BQC

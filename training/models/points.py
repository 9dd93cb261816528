"""Values of masks at points, and the points at which the losses compare masks.

All masks of an image are asked at the same points, those of all layers too. The published code draws points for each
mask of each layer, so it converts and copies all target masks anew for each of them: that was its main cost.

Axes: N M planes, K points, H W cells of a plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.config import LossConfig

_PLANES_AT_ONCE = 8  # more of them share an interpolation weight, but soon their rows no longer share the cache
_CELLS_AT_ONCE = 2**22  # of integer masks, which become float so many at a time


@dataclass(frozen=True, eq=False)
class LossPoints:
    """Where the masks of one image are compared in one step. Points are (x, y) in [0, 1].

    Attributes:
        matching_K2: float32: for the matching, uniform.
        candidates_K2: float32: of these, each mask of the loss takes those where its prediction is least certain.
        uniform_K2: float32: these each mask takes besides.
        uncertain: How many candidates a mask takes.
    """

    matching_K2: Tensor
    candidates_K2: Tensor
    uniform_K2: Tensor
    uncertain: int

    def __post_init__(self) -> None:
        if not 0 <= self.uncertain <= len(self.candidates_K2):
            raise ValueError(f"uncertain must be within [0, {len(self.candidates_K2)}], got {self.uncertain}")

    def to(self, device: torch.device) -> LossPoints:
        """The same points on a device."""
        return LossPoints(
            self.matching_K2.to(device), self.candidates_K2.to(device), self.uniform_K2.to(device), self.uncertain
        )


def draw_points(config: LossConfig, generator: torch.Generator) -> LossPoints:
    """The points of one image, drawn anew for every step.

    Args:
        config: How many.
        generator: A generator of the CPU, so that every device gets the same points.

    Returns:
        Sorted points, on the CPU: neighbours in the list are neighbours in the image, which memory likes.

    Example:
        >>> points = draw_points(LossConfig(points=100), torch.Generator().manual_seed(0))
        >>> len(points.matching_K2), len(points.candidates_K2), points.uncertain, len(points.uniform_K2)
        (100, 300, 75, 25)
    """
    uncertain = int(config.importance * config.points)
    candidates = int(config.oversample * config.points) if uncertain else 0
    counts = (config.points, candidates, config.points - uncertain)
    matching, of_candidates, uniform = (_along_rows(torch.rand(count, 2, generator=generator)) for count in counts)
    return LossPoints(matching, of_candidates, uniform, uncertain)


def sample_planes(planes_NHW: Tensor, points_K2: Tensor) -> Tensor:
    """The values of planes at points, interpolated between the centres of the four nearest cells.

    What lies outside a plane is 0, as in the published code: so near the border, values are weakened.

    Args:
        planes_NHW: Float (gradients reach it), bool or 0/1 integers.
        points_K2: float32, (x, y) in [0, 1].

    Returns:
        float32 (N, K).

    Example:
        >>> plane_HW = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
        >>> sample_planes(plane_HW[None], torch.tensor([[0.25, 0.25], [0.5, 0.5]])).tolist()
        [[0.0, 1.5]]
    """
    N, H, W = planes_NHW.shape
    grid_11K2 = 2 * points_K2[None, None] - 1
    if not planes_NHW.is_floating_point():
        step = min(_PLANES_AT_ONCE, max(1, _CELLS_AT_ONCE // (H * W)))
        values = [_sample_group(group_nHW.float(), grid_11K2) for group_nHW in torch.split(planes_NHW, step)]
        return torch.cat(values) if values else points_K2.new_zeros(0, len(points_K2))
    whole = N - N % _PLANES_AT_ONCE
    parts = [_sample_group(part_nHW.float(), grid_11K2) for part_nHW in (planes_NHW[:whole], planes_NHW[whole:])]
    return parts[0] if whole == N else torch.cat(parts)


def cell_centres(size_hw: tuple[int, int], device: torch.device) -> Tensor:
    """The centres of all cells of a plane, row by row.

    Args:
        size_hw: Height and width of the plane.
        device: Where the points are to be.

    Returns:
        float32 (H W, 2), (x, y) in [0, 1].

    Example:
        >>> cell_centres((1, 2), torch.device("cpu")).tolist()
        [[0.25, 0.5], [0.75, 0.5]]
    """
    y_H, x_W = ((torch.arange(count, device=device) + 0.5) / count for count in size_hw)
    return torch.cartesian_prod(y_H, x_W).flip(1)


def _sample_group(planes_nHW: Tensor, grid_11K2: Tensor) -> Tensor:
    n, H, W = planes_nHW.shape
    channels = min(n, _PLANES_AT_ONCE)
    if not n:
        return planes_nHW.flatten(1)[:, :1].expand(-1, grid_11K2.shape[2])
    groups = planes_nHW.reshape(n // channels, channels, H, W)
    values = functional.grid_sample(groups, grid_11K2.expand(len(groups), -1, -1, -1), align_corners=False)
    return values.reshape(n, -1)


def _along_rows(points_K2: Tensor, rows: int = 256) -> Tensor:
    x_K, y_K = points_K2.unbind(1)
    return points_K2[((y_K * rows).floor() + x_K).argsort()]

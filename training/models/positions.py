"""Where a cell is, as a vector that attention can compare.

Axes: S cells of a map, row by row, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10_000.0
"""Longest wave over shortest."""
EPSILON = 1e-6


def sine_positions(size_hw: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """Sines and cosines of a cell's row, then of its column, each as a share of the map (Carion et al. 2020).

    Args:
        size_hw: Height and width of the map, in cells.
        width: Channels; a multiple of 4.
        device: Where the result lies.

    Returns:
        float32 (h * w, width).

    Example:
        >>> sine_positions((2, 3), 8, torch.device("cpu")).shape
        torch.Size([6, 8])
    """
    exponents = torch.arange(width // 4, device=device) / (width // 4)
    waves = TEMPERATURE**exponents
    parts = []
    for side in size_hw:
        share = torch.arange(1, side + 1, device=device) / (side + EPSILON) * (2 * math.pi)
        angles = share[:, None] / waves
        parts.append(torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1))
    rows_hC, columns_wC = parts
    h, w = size_hw
    rows_hwC = rows_hC[:, None].expand(h, w, -1)
    return torch.cat((rows_hwC, columns_wC.expand(h, w, -1)), dim=-1).flatten(0, 1)

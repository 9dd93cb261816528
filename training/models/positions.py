"""Where a cell or a box is, as a vector that attention can compare.

Axes: S cells of a map, row by row, C channels; N numbers of one place.
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
    h, w = size_hw
    rows_hC, columns_wC = (
        sines((torch.arange(1, side + 1, device=device) / (side + EPSILON))[:, None], width // 2) for side in size_hw
    )
    rows_hwC = rows_hC[:, None].expand(h, w, -1)
    return torch.cat((rows_hwC, columns_wC.expand(h, w, -1)), dim=-1).flatten(0, 1)


def sines(shares_N: Tensor, channels: int) -> Tensor:
    """Sines and cosines of numbers, in waves from 1 up to 10,000 times as long.

    Args:
        shares_N: float32 (..., N): what are shares of an image, or differences of them.
        channels: Of each number; a multiple of 2.

    Returns:
        float32 (..., N * channels): sine and cosine in turns, the shortest wave first; number after number.

    Example:
        >>> sines(torch.tensor([[0.25, 0.5]]), 2).round(decimals=3).tolist() == [[1.0, 0.0, 0.0, -1.0]]
        True
    """
    exponents = torch.arange(channels // 2, device=shares_N.device) / (channels // 2)
    angles = (shares_N * (2 * math.pi))[..., None] / TEMPERATURE**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-3)

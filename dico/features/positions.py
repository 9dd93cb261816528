"""Position embeddings at another grid, as DINO and DINOv2 were published.

Axes: P positions (class token first), C channels, h w patches.
"""

from __future__ import annotations

import math

from torch import Tensor, cat
from torch.nn import functional

OFFSET = 0.1
"""Added to the number of patches before the scale is computed. The published code does it against rounding; the samples
move by up to a twentieth of a cell, and published features carry the shift."""


def interpolate_positions(positions_1PC: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Position embeddings for ``grid_hw`` patches, bicubic, with the sampling points of the published code.

    Hugging Face's models interpolate to a size, the published code by a scale of (patches + 0.1) / grid, which samples
    elsewhere by a little. This is the published one, so that weights give the same features in whichever form
    they come. DINOv2 with registers was published without the shift and is left to transformers.

    Args:
        positions_1PC: (1, 1 + n * n, C): the class token's, then those of an n x n grid.
        grid_hw: Patches of the image, each at least 1.

    Returns:
        (1, 1 + h * w, C), same dtype; interpolated in float32.
    """
    side = math.isqrt(positions_1PC.shape[1] - 1)
    if grid_hw == (side, side):
        return positions_1PC
    grid_1Cnn = positions_1PC[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale_h, scale_w = ((patches + OFFSET) / side for patches in grid_hw)
    grid_1Chw = functional.interpolate(grid_1Cnn.float(), scale_factor=(scale_h, scale_w), mode="bicubic")
    patches_1pC = grid_1Chw.flatten(2).transpose(1, 2).to(positions_1PC.dtype)
    return cat([positions_1PC[:, :1], patches_1pC], dim=1)

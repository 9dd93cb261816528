"""Boxes as targets, and random predictions for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.samples import FactoredOutput


def boxes(count: int, size_hw: tuple[int, int], seed: int = 0) -> Tensor:
    """bool (N, H, W): boxes of at most half the width and height, which may lie over one another."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    masks_NHW = torch.zeros(count, height, width, dtype=torch.bool)
    for mask_HW in masks_NHW:
        y0, x0 = rng.integers(0, (1 + height // 2, 1 + width // 2)).tolist()
        tall, wide = rng.integers(1 + height // 6, (1 + height // 2, 1 + width // 2)).tolist()
        mask_HW[y0 : y0 + tall, x0 : x0 + wide] = True
    return masks_NHW


def predictions(
    *, layers: int, images: int, queries: int, size_hw: tuple[int, int], channels: int = 32, seed: int = 0
) -> FactoredOutput:
    """Random predictions that gradients reach."""
    rng = torch.Generator().manual_seed(seed)
    return FactoredOutput(
        torch.randn(layers, images, queries, 2, generator=rng).requires_grad_(),
        (torch.randn(layers, images, queries, channels, generator=rng) * channels**-0.5).requires_grad_(),
        torch.randn(images, channels, *size_hw, generator=rng).mul_(3).requires_grad_(),
    )


def leaves(output: FactoredOutput) -> tuple[Tensor, Tensor, Tensor]:
    """What gradients of predictions are asked for."""
    return output.class_logits_LBQ2, output.embeddings_LBQC, output.features_BChw

"""Prompts for drawn boxes, and random answers to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tests.training.drawn_targets import boxes
from training.prompts import PADDING, PromptOutput, PromptTargets
from training.samples import Targets


def answers(
    *,
    layers: int = 2,
    images: int = 2,
    prompts: int = 3,
    queries: int = 6,
    size_hw: tuple[int, int] = (8, 12),
    channels: int = 16,
    seed: int = 0,
) -> PromptOutput:
    """Random predictions that gradients reach."""
    rng = torch.Generator().manual_seed(seed)
    each = (layers, images, prompts, queries)
    centres, sizes = torch.rand(*each, 2, generator=rng), 0.1 + 0.4 * torch.rand(*each, 2, generator=rng)
    return PromptOutput(
        (torch.randn(*each, channels, generator=rng) * channels**-0.5).requires_grad_(),
        torch.rand(*each, generator=rng).requires_grad_(),
        torch.cat((0.25 + 0.5 * centres, sizes), dim=-1).requires_grad_(),
        torch.randn(images, channels, *size_hw, generator=rng).mul_(3).requires_grad_(),
    )


def leaves(output: PromptOutput) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What gradients of predictions are asked for."""
    return output.embeddings_LBPQC, output.ious_LBPQ, output.boxes_LBPQ4, output.features_BChw


def wanted(counts: Sequence[Sequence[int]], size_hw: tuple[int, int] = (32, 48), masks: int = 8) -> list[PromptTargets]:
    """For each image as many targets a prompt as given, drawn from its masks; an image that wants none has none."""
    found = []
    for seed, of_prompts in enumerate(counts):
        rng = np.random.default_rng(seed)
        N = masks if any(of_prompts) else 0
        target_PT = torch.full((len(of_prompts), max([*of_prompts, min(6, N)])), PADDING)
        for target_T, count in zip(target_PT, of_prompts, strict=True):
            # Wherever they stand: padding may lie between them.
            target_T[rng.permutation(len(target_T))[:count]] = torch.from_numpy(rng.permutation(N)[:count])
        found.append(PromptTargets(Targets(boxes(N, size_hw, seed)), target_PT))
    return found

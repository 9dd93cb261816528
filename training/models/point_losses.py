"""The losses of matched masks at points, and which points these are.

Source: Kirillov et al. 2020 (PointRend), Sec. 3.1; Milletari et al. 2016 (V-Net), Sec. 3, for dice.

Axes: M matched masks, K points.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.models.points import LossPoints


def point_losses(logits_MK: Tensor, targets_MK: Tensor) -> Tensor:
    """Binary cross-entropy and dice loss of each mask.

    Args:
        logits_MK: float32: mask logits at points.
        targets_MK: float32 in [0, 1]: targets at the same points.

    Returns:
        float32 (M, 2): cross-entropy, averaged over points; dice loss, with 1 added to both sides of its fraction.
    """
    cross_entropy_MK = functional.binary_cross_entropy_with_logits(logits_MK, targets_MK, reduction="none")
    inside_MK = logits_MK.sigmoid()
    overlap_M = (inside_MK * targets_MK).sum(dim=1)
    dice_M = 1 - (2 * overlap_M + 1) / (inside_MK.sum(dim=1) + targets_MK.sum(dim=1) + 1)
    return torch.stack((cross_entropy_MK.mean(dim=1), dice_M), dim=1)


def at_uncertain_points(logits_MK: Tensor, targets_MK: Tensor, points: LossPoints) -> tuple[Tensor, Tensor]:
    """Values at the points that each mask takes: its most uncertain candidates, and the uniform ones.

    Args:
        logits_MK: Mask logits at the candidates and the uniform points, in this order.
        targets_MK: Targets at the same points.
        points: These points, and how many candidates to take.

    Returns:
        Logits and targets at the points taken; gradients reach the logits.
    """
    candidates = len(points.candidates_K2)
    chosen_MK = most_uncertain(logits_MK[:, :candidates], points.uncertain)
    logits, targets = (
        torch.cat((values_MK.gather(1, chosen_MK), values_MK[:, candidates:]), dim=1)
        for values_MK in (logits_MK, targets_MK)
    )
    return logits, targets


def most_uncertain(logits_MK: Tensor, count: int) -> Tensor:
    """Which points are nearest to the border that a prediction draws.

    Args:
        logits_MK: Mask logits at points.
        count: How many points to choose, at most K.

    Returns:
        int64 (M, count), in any order.
    """
    distance_MK = logits_MK.detach().abs()
    if distance_MK.device.type != "cpu" or not 0 < count < distance_MK.shape[1]:
        return distance_MK.topk(count, dim=1, largest=False, sorted=False).indices
    # NumPy's partition has vector instructions: a third of the time of torch's.
    return torch.from_numpy(np.argpartition(distance_MK.numpy(), count, axis=1)[:, :count])


def soft_iou(logits_MK: Tensor, targets_MK: Tensor) -> Tensor:
    """Intersection over union of predictions (logits above 0) with targets, which may cover a part of a cell.

    Args:
        logits_MK: Mask logits.
        targets_MK: float32 in [0, 1]: what share of each cell the target covers.

    Returns:
        float32 (M,); 0 where both are empty.

    Example:
        >>> soft_iou(torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]])).item()
        0.5
    """
    inside_MK = (logits_MK > 0).to(targets_MK.dtype)
    overlap_M = (inside_MK * targets_MK).sum(dim=1)
    union_M = inside_MK.sum(dim=1) + targets_MK.sum(dim=1) - overlap_M
    return overlap_M / union_M.clamp(min=torch.finfo(union_M.dtype).tiny)

"""The losses of matched masks at points, and which points these are.

Source: Kirillov et al. 2020 (PointRend), Sec. 3.1; Milletari et al. 2016 (V-Net), Sec. 3, for dice.

Axes: L layers, M matched masks of a layer, C channels, P points at which all are known, K points that a mask takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from training.models.points import LossPoints


def points_taken(logits_MP: Tensor, points: LossPoints) -> Tensor:
    """The points that each mask takes: its most uncertain candidates, and the uniform ones.

    Args:
        logits_MP: Mask logits at the candidates and the uniform points, in this order.
        points: These points, and how many candidates to take.

    Returns:
        int64 (M, K): indices of points, no point twice in a row.
    """
    M, P = logits_MP.shape
    candidates = len(points.candidates_K2)
    uniform = torch.arange(candidates, P, device=logits_MP.device).expand(M, -1)
    return torch.cat((most_uncertain(logits_MP[:, :candidates], points.uncertain), uniform), dim=1)


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
    return torch.from_numpy(np.argpartition(distance_MK.numpy(), count, axis=1)[:, :count].copy())


def product_losses(
    embeddings_LMC: Tensor, features_CP: Tensor, targets: Sequence[Tensor], points: LossPoints
) -> Tensor:
    """Binary cross-entropy and dice loss of each matched mask at the points that it takes, for all layers.

    A mask's logits are the products of its embedding and the features.

    Args:
        embeddings_LMC: float32: the mask embeddings of the matched queries.
        features_CP: float32: the mask features at the candidates and the uniform points, in this order. Gradients
            reach both, but no gradients of gradients.
        targets: L times float32 (M, P): the targets of a layer in [0, 1] at the same points.
        points: These points, and how many candidates to take.

    Returns:
        (L, M, 2): cross-entropy, averaged over points; dice loss, with 1 added to both sides of its fraction.

    Example:
        >>> points = LossPoints(torch.rand(1, 2), torch.rand(0, 2), torch.rand(2, 2), uncertain=0)
        >>> embeddings_LMC, features_CP = torch.tensor([[[1.0]]]), torch.tensor([[9.0, -9.0]])
        >>> losses_LM2 = product_losses(embeddings_LMC, features_CP, [torch.tensor([[1.0, 0.0]])], points)
        >>> bool((losses_LM2 < 0.001).all())
        True
    """
    losses: Callable[[Tensor, Tensor, Sequence[Tensor], LossPoints], Tensor] = _ProductLosses.apply
    return losses(embeddings_LMC, features_CP, targets, points)


class _Kept(NamedTuple):
    # The gradient by hand keeps 12 bytes a point that was taken. Autograd would keep 16 of these, 12 of each point that
    # was not, and as much again while it goes back: most of the memory of all losses.
    inside_MK: Tensor
    targets_MK: Tensor
    overlap_M: Tensor
    areas_M: Tensor
    taken_MK: Tensor


class _ProductLosses(Function):
    # Logits of one layer at a time, always in the same memory, and one gradient of the features that all layers add to.
    # Autograd would make new memory for each layer, which takes longer than the arithmetic on it.
    @staticmethod
    def forward(
        ctx: Any, embeddings_LMC: Tensor, features_CP: Tensor, targets: Sequence[Tensor], points: LossPoints
    ) -> Tensor:
        logits_MP = features_CP.new_empty(embeddings_LMC.shape[1], features_CP.shape[1])
        losses: list[Tensor] = []
        everything: list[Tensor] = []
        for embeddings_MC, targets_MP in zip(embeddings_LMC, targets, strict=True):
            torch.mm(embeddings_MC, features_CP, out=logits_MP)
            losses_M2, kept = _losses(logits_MP, targets_MP, points_taken(logits_MP, points))
            losses.append(losses_M2)
            everything.extend(kept)
        ctx.save_for_backward(embeddings_LMC, features_CP, *everything)
        return torch.stack(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_LM2: Tensor) -> tuple[Tensor, Tensor, None, None]:
        embeddings_LMC, features_CP, *everything = ctx.saved_tensors
        by_logit_MP = features_CP.new_empty(embeddings_LMC.shape[1], features_CP.shape[1])
        by_embedding_LMC, by_feature_CP = torch.empty_like(embeddings_LMC), torch.zeros_like(features_CP)
        layers = (_Kept(*everything[i : i + len(_Kept._fields)]) for i in range(0, len(everything), len(_Kept._fields)))
        for layer, (kept, gradient_M2) in enumerate(zip(layers, gradient_LM2, strict=True)):
            _gradient(kept, gradient_M2, by_logit_MP)
            torch.mm(by_logit_MP, features_CP.T, out=by_embedding_LMC[layer])
            by_feature_CP.addmm_(embeddings_LMC[layer].T, by_logit_MP)
        return by_embedding_LMC, by_feature_CP, None, None


def _losses(logits_MP: Tensor, targets_MP: Tensor, taken_MK: Tensor) -> tuple[Tensor, _Kept]:
    logits_MK, targets_MK = logits_MP.gather(1, taken_MK), targets_MP.gather(1, taken_MK)
    cross_entropy_MK = functional.binary_cross_entropy_with_logits(logits_MK, targets_MK, reduction="none")
    inside_MK = logits_MK.sigmoid()
    overlap_M = (inside_MK * targets_MK).sum(dim=1)
    areas_M = inside_MK.sum(dim=1) + targets_MK.sum(dim=1)
    dice_M = 1 - (2 * overlap_M + 1) / (areas_M + 1)
    losses_M2 = torch.stack((cross_entropy_MK.mean(dim=1), dice_M), dim=1)
    return losses_M2, _Kept(inside_MK, targets_MK, overlap_M, areas_M, taken_MK.int())


def _gradient(kept: _Kept, gradient_M2: Tensor, by_logit_MP: Tensor) -> Tensor:
    """The gradient of the logits, in the memory given for it."""
    inside_MK, targets_MK, overlap_M, areas_M, taken_MK = kept
    of_entropy_M1, of_dice_M1 = torch.split(gradient_M2, 1, dim=1)
    # The fraction f = (2 overlap + 1) / (areas + 1) has the derivative (2 t - f) / (areas + 1) by a sigmoid.
    fraction_M1 = ((2 * overlap_M + 1) / (areas_M + 1))[:, None]
    by_inside_MK = of_dice_M1 / (areas_M + 1)[:, None] * (fraction_M1 - 2 * targets_MK)
    by_logit_MK = by_inside_MK * inside_MK * (1 - inside_MK)
    by_logit_MK += of_entropy_M1 / inside_MK.shape[1] * (inside_MK - targets_MK)
    return by_logit_MP.zero_().scatter_(1, taken_MK.long(), by_logit_MK)


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

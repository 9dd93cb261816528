"""Which query answers for which target: the assignment of least cost.

The binary cross-entropy of a logit x with a target t is softplus(x) - x t, so over all points that of every query with
every target is one sum a query and one matrix product; dice is another product. The first product needs no logits where
these are products themselves: the embeddings are multiplied with the features' sums over each target.

Source: Cheng et al. 2022 (Mask2Former), Sec. 3.3; Carion et al. 2020 (DETR), Sec. 3.1.

Axes: L layers, Q queries, N targets, M = min(Q, N) matched pairs, K points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from training.config import LossConfig
from training.models.mask_values import MaskValues
from training.samples import OBJECT

_QUERIES_AT_ONCE = 128  # so 2,000 queries take no more memory than these, and it stays in the cache


@dataclass(frozen=True, eq=False)
class Pairs:
    """Queries and the targets they were matched with.

    Attributes:
        query_M: int64, no query twice.
        target_M: int64, rising, no target twice: 0 to N - 1 when there are enough queries for all.
    """

    query_M: Tensor
    target_M: Tensor

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on a device."""
        return Pairs(self.query_M.to(device), self.target_M.to(device))


@torch.no_grad()
def match_layers(
    class_logits_LQ2: Tensor, values: Sequence[MaskValues], targets_NK: Tensor, config: LossConfig
) -> list[Pairs]:
    """The assignments of one image, each layer's its own.

    Args:
        class_logits_LQ2: Object, no object.
        values: L of them: the predicted masks of the queries at points.
        targets_NK: float32 in [0, 1]: the targets' values at the same points.
        config: The weights.

    Returns:
        L Pairs on the device of the logits.

    Raises:
        FloatingPointError: when a prediction is not finite.
    """
    costs = [
        matching_cost(class_logits_Q2, of_layer, targets_NK, config)
        for class_logits_Q2, of_layer in zip(class_logits_LQ2, values, strict=True)
    ]
    cost_LQN = torch.stack(costs).cpu()  # one wait for the device, not one a layer
    return [assign(cost_QN).to(class_logits_LQ2.device) for cost_QN in cost_LQN]


@torch.no_grad()
def matching_cost(class_logits_Q2: Tensor, values: MaskValues, targets_NK: Tensor, config: LossConfig) -> Tensor:
    """What it costs to match each query of an image with each of its targets.

    Args:
        class_logits_Q2: Object, no object.
        values: The predicted masks of the queries at points.
        targets_NK: float32 in [0, 1]: the targets' values at the same points.
        config: The weights.

    Returns:
        float32 (Q, N) on the device of the logits, also when these are of half precision.
    """
    objectness_Q = class_logits_Q2.float().softmax(dim=1)[:, OBJECT]
    cost_QN = mask_cost(values, targets_NK, config)
    return cost_QN - config.class_weight * objectness_Q[:, None]


def mask_cost(values: MaskValues, targets_NK: Tensor, config: LossConfig) -> Tensor:
    """The mask losses of every query with every target, weighted, some queries at a time.

    Args:
        values: The predicted masks of the queries at points.
        targets_NK: float32 in [0, 1]: the targets' values at the same points.
        config: The weights.

    Returns:
        float32 (Q, N).
    """
    groups = values.groups(targets_NK, _QUERIES_AT_ONCE)
    return torch.cat([pairwise_mask_cost(*group, targets_NK, config) for group in groups])


def pairwise_mask_cost(logits_QK: Tensor, products_QN: Tensor, targets_NK: Tensor, config: LossConfig) -> Tensor:
    """The mask losses of every query with every target, weighted.

    Args:
        logits_QK: float32: mask logits at points; overwritten.
        products_QN: float32: their dot products with the targets.
        targets_NK: float32 in [0, 1]: targets at the same points.
        config: The weights.

    Returns:
        float32 (Q, N).

    Example:
        >>> logits_QK, targets_NK = torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.tensor([[0.0, 1.0]])
        >>> cost_QN = pairwise_mask_cost(logits_QK, logits_QK @ targets_NK.T, targets_NK, LossConfig())
        >>> cost_QN[:, 0].argmin().item()
        1
    """
    # softplus(x) = max(x, 0) - log(sigmoid(|x|)), where max(x, 0) is half of x + |x|. All in place: new memory of this
    # size costs more than the arithmetic, and torch's softplus and logsigmoid take many times as long.
    points = logits_QK.shape[1]
    positive_Q = (logits_QK.sum(dim=1) + torch.linalg.vector_norm(logits_QK, ord=1, dim=1)) / 2
    inside_QK = logits_QK.sigmoid_()
    areas_QN = inside_QK.sum(dim=1)[:, None] + targets_NK.sum(dim=1)
    dice_QN = 1 - (2 * (inside_QK @ targets_NK.T) + 1) / (areas_QN + 1)
    farther_QK = inside_QK.sub_(0.5).abs_().add_(0.5)
    softplus_Q = positive_Q - farther_QK.log_().sum(dim=1)
    cross_entropy_QN = softplus_Q[:, None] - products_QN
    cost_QN: Tensor = config.mask_weight / points * cross_entropy_QN + config.dice_weight * dice_QN
    return cost_QN


def assign(cost_QN: Tensor) -> Pairs:
    """The pairs whose costs have the smallest sum (Hungarian matching).

    Args:
        cost_QN: Costs, on the CPU (the solver works there).

    Returns:
        min(Q, N) Pairs, on the CPU.

    Raises:
        FloatingPointError: when a cost is not finite: so is the prediction, then, and training has diverged.

    Example:
        >>> assign(torch.tensor([[1.0, 5.0], [0.0, 1.0], [9.0, 9.0]])).target_M.tolist()
        [0, 1]
    """
    wrong_Q = ~cost_QN.isfinite().all(dim=1)
    if wrong_Q.any():
        raise FloatingPointError(
            f"the predictions of {int(wrong_Q.sum())} of {len(cost_QN)} queries are not finite: training has diverged"
        )
    target_M, query_M = linear_sum_assignment(cost_QN.numpy().T)
    return Pairs(torch.from_numpy(query_M), torch.from_numpy(target_M))

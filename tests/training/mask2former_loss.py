"""transformers' losses of Mask2Former at given points: the oracle of the criterion, in tests and in its benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor

from training.config import LossConfig
from training.models.points import LossPoints
from training.samples import FactoredOutput


def published_losses(
    output: FactoredOutput,
    mask_logits: Sequence[Tensor],
    masks: Sequence[Tensor],
    points: Sequence[LossPoints],
    config: LossConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """Class, mask and dice loss of every layer, the last layer's last.

    Args:
        output: Predictions, of which the class logits are taken,
        mask_logits: and their masks, multiplied out: (B, Q, h, w) of each layer.
        masks: Targets of each image, float, as transformers has them.
        points: Of each image.
        config: Weights and numbers of points.
    """
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerConfig, Mask2FormerLoss

    criterion = Mask2FormerLoss(
        Mask2FormerConfig(
            num_labels=1,
            class_weight=config.class_weight,
            mask_weight=config.mask_weight,
            dice_weight=config.dice_weight,
            no_object_weight=config.no_object_weight,
            train_num_points=config.points,
            oversample_ratio=config.oversample,
            importance_sample_ratio=config.importance,
        ),
        weight_dict={},
    )
    layers = [
        {"masks_queries_logits": logits_BQhw, "class_queries_logits": class_logits_BQ2}
        for logits_BQhw, class_logits_BQ2 in zip(mask_logits, output.class_logits_LBQ2, strict=True)
    ]
    matched = [min(len(found), output.class_logits_LBQ2.shape[2]) for found in masks]
    with _given_points(points, matched):
        losses = criterion(
            layers[-1]["masks_queries_logits"],
            layers[-1]["class_queries_logits"],
            list(masks),
            [torch.zeros(len(found), dtype=torch.int64) for found in masks],
            layers[:-1],
        )
    suffixes = [*(f"_{layer}" for layer in range(len(layers) - 1)), ""]
    class_L, mask_L, dice_L = (
        torch.stack([losses[kind + suffix] for suffix in suffixes])
        for kind in ("loss_cross_entropy", "loss_mask", "loss_dice")
    )
    return class_L, mask_L, dice_L


@contextmanager
def _given_points(points: Sequence[LossPoints], matched: Sequence[int]) -> Iterator[None]:
    """``torch.rand`` gives these points, asked for by number: a set a matching, and a set a matched mask."""
    candidates, uniform = len(points[0].candidates_K2), len(points[0].uniform_K2)
    matchings = 0

    def rand(*shape: int, device: torch.device | None = None) -> Tensor:
        nonlocal matchings
        if shape[0] == 1 and shape[1] not in (candidates, uniform):
            matchings += 1
            return points[(matchings - 1) % len(points)].matching_K2[None]
        if shape[0] != sum(matched) or shape[1] not in (candidates, uniform):
            raise ValueError(f"no points of the shape {shape}")
        chosen = [at.candidates_K2 if shape[1] == candidates else at.uniform_K2 for at in points]
        return torch.cat([at_K2.expand(count, -1, -1) for at_K2, count in zip(chosen, matched, strict=True)])

    with mock.patch.object(torch, "rand", rand):
        yield

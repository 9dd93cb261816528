"""The losses of a whole-image model: class, mask and dice, of every layer.

Each image's targets are looked up once, at the points of the matching and of the losses, and all layers use the values.
Matched masks alone are looked at; the pass that chooses the points keeps no gradient of its own.

Source: Cheng et al. 2022 (Mask2Former), Sec. 3.2 and 3.3; Kirillov et al. 2020 (PointRend), Sec. 3.1, for the points;
Wang et al. 2023 (CutLER), Sec. 3.3, for DropLoss. Deviation: the masks and layers of an image share their points
(:mod:`training.models.points`), each of which is drawn as published; and the class loss, too, is divided by what it is
divided by on average over workers, so that several of them give the gradients of one.

Axes: L layers, B images, Q queries, N targets and M matched pairs of an image, K points of the
matching, P points of the losses, h w cells of a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from training.config import LossConfig
from training.models.mask_values import values_at
from training.models.matcher import Pairs, match_layers
from training.models.point_losses import product_losses, soft_iou
from training.models.points import LossPoints, cell_centres, draw_points, sample_planes
from training.samples import NO_OBJECT, OBJECT, FactoredOutput, Losses, Targets


class Criterion:
    """Compares a model's output with targets.

    Args:
        config: Weights and numbers of points.

    Example:
        >>> masks_NHW = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> masks_NHW[0, 2:6, 2:6] = True
        >>> features_BChw = torch.where(masks_NHW, 9.0, -9.0)[None]
        >>> output = FactoredOutput(torch.tensor([[[[9.0, -9.0]]]]), torch.ones(1, 1, 1, 1), features_BChw)
        >>> losses = Criterion(LossConfig())(output, [Targets(masks_NHW)], torch.Generator().manual_seed(0))
        >>> losses.class_L.shape, bool(losses.class_L[0] < 0.001)
        (torch.Size([1]), True)
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, output: FactoredOutput, targets: Sequence[Targets], generator: torch.Generator) -> Losses:
        """The losses at points drawn for this call.

        Args:
            output: Predictions for B images; gradients reach them.
            targets: The targets of the B images, on the device of the predictions.
            generator: A generator of the CPU; a step draws the points of its images from it, in their order.

        Returns:
            Losses in float32, also under autocast. Whoever steps looks whether the total is finite, once.

        Raises:
            ValueError: when there are not as many targets as images.
            FloatingPointError: when a prediction is not finite, so that it cannot be matched.
        """
        return self.at_points(output, targets, [draw_points(self.config, generator) for _ in targets])

    def at_points(self, output: FactoredOutput, targets: Sequence[Targets], points: Sequence[LossPoints]) -> Losses:
        """The losses at given points.

        Args:
            output: As for a call.
            targets: As for a call.
            points: The points of each of the B images.

        Returns:
            As a call.

        Raises:
            ValueError: as a call.
            FloatingPointError: as a call.
        """
        class_logits_LBQ2 = output.class_logits_LBQ2
        L, B, Q, _ = class_logits_LBQ2.shape
        device = class_logits_LBQ2.device
        if not len(targets) == len(points) == B:
            raise ValueError(f"targets and points must be of {B} images, got {len(targets)} and {len(points)}")
        matched_LBQ = torch.zeros(L, B, Q, dtype=torch.bool, device=device)
        mask_losses = []
        with torch.autocast(device.type, enabled=False):
            for image, (found, at) in enumerate(zip(targets, points, strict=True)):
                pairs, losses_L2 = self._of_image(output, image, found, at.to(device))
                for matched_Q, of_layer in zip(matched_LBQ[:, image], pairs, strict=True):
                    matched_Q[of_layer.query_M] = True
                mask_losses.append(losses_L2)
            mask_sum_L, dice_sum_L = torch.stack(mask_losses).sum(dim=0).unbind(dim=1)
            class_sum_L, class_weight_L = class_loss(class_logits_LBQ2, matched_LBQ, self.config.no_object_weight)
            masks = class_weight_L.new_tensor([sum(map(len, targets))])
            masks, class_weight_L = averaged_over_workers(torch.cat((masks, class_weight_L))).tensor_split((1,))
            masks = masks.masked_fill(masks == 0, 1)
        class_L, mask_L, dice_L = class_sum_L / class_weight_L, mask_sum_L / masks, dice_sum_L / masks
        weights = self.config
        total = (weights.class_weight * class_L + weights.mask_weight * mask_L + weights.dice_weight * dice_L).sum()
        return Losses(class_L, mask_L, dice_L, total)

    def _of_image(
        self, output: FactoredOutput, image: int, targets: Targets, at: LossPoints
    ) -> tuple[list[Pairs], Tensor]:
        class_logits_LQ2 = output.class_logits_LBQ2[:, image]
        loss_points_P2 = torch.cat((at.candidates_K2, at.uniform_K2))
        # Every target is looked up once: most of that time goes into its pixels becoming numbers.
        targets_NK = sample_planes(targets.masks_NHW, torch.cat((at.matching_K2, loss_points_P2)))
        matching_NK, loss_NP = targets_NK.tensor_split((len(at.matching_K2),), dim=1)
        with torch.no_grad():
            values = values_at(output, image, at.matching_K2)
        pairs = match_layers(class_logits_LQ2, values, matching_NK, self.config)
        # Targets come in their order: only when there are more of them than queries is a part of them wanted.
        everyone = len(targets) <= class_logits_LQ2.shape[1]
        of_layers = [loss_NP if everyone else loss_NP[matched.target_M] for matched in pairs]
        query_LM = torch.stack([matched.query_M for matched in pairs])
        layers_L1 = torch.arange(len(pairs), device=query_LM.device)[:, None]
        embeddings_LMC = output.embeddings_LBQC[layers_L1, image, query_LM].float()
        features_CP = sample_planes(output.features_BChw[image], loss_points_P2)
        losses_LM2 = product_losses(embeddings_LMC, features_CP, of_layers, at)
        if self.config.drop_iou:
            losses_LM2 = losses_LM2 * self._agreeing(output, image, targets, pairs)[..., None]
        return pairs, losses_LM2.sum(dim=1)

    @torch.no_grad()
    def _agreeing(self, output: FactoredOutput, image: int, targets: Targets, pairs: Sequence[Pairs]) -> Tensor:
        """bool (L, M): which predictions have something in common with their targets."""
        height, width = output.features_BChw.shape[2:]
        centres_K2 = cell_centres((height, width), targets.masks_NHW.device)
        targets_NK = sample_planes(targets.masks_NHW, centres_K2)
        overlaps = [
            soft_iou(of_layer.of(matched.query_M), targets_NK[matched.target_M])
            for of_layer, matched in zip(values_at(output, image, centres_K2), pairs, strict=True)
        ]
        return torch.stack(overlaps) > self.config.drop_iou


def class_loss(class_logits_LBQ2: Tensor, matched_LBQ: Tensor, no_object_weight: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of object and no object, summed with weights over all queries of the batch.

    Args:
        class_logits_LBQ2: Object, no object.
        matched_LBQ: bool: whether the query has a target.
        no_object_weight: What a query without one counts; one with a target counts 1.

    Returns:
        float32 (L,) twice: the sums, and the sums of the weights.
    """
    log_probability_LBQ2 = class_logits_LBQ2.float().log_softmax(dim=3)
    right_LBQ = torch.where(matched_LBQ, log_probability_LBQ2[..., OBJECT], log_probability_LBQ2[..., NO_OBJECT])
    weight_LBQ = torch.where(matched_LBQ, 1.0, no_object_weight)
    return -(weight_LBQ * right_LBQ).sum(dim=(1, 2)), weight_LBQ.sum(dim=(1, 2))


def averaged_over_workers(counts: Tensor) -> Tensor:
    """Counts of this worker's batch, averaged over all workers when there are several.

    What losses are divided by must be equal everywhere: then the average of the workers' gradients is the gradient of
    one process with all images, and a mask counts the same whatever else is in its batch.

    Args:
        counts: Numbers; every worker gives as many.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return counts
    total = counts.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()

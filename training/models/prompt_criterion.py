"""The losses of a promptable model: mask, dice, box and predicted IoU of every layer.

Each prompt has its own targets, and its masks are matched with them once, by the last layer; the layers before it are
compared with the same targets. A mask without a target takes no loss at all: another prompt may need what it is.

Source: Li et al. 2023 (Semantic-SAM), Sec. 3.2 and 3.3; the points are those of :mod:`training.models.criterion`.
Deviations: there is no class, as every pseudo-mask is an object; and the masks and layers of an image share their
points.

Axes: L layers, B images, P prompts of an image, Q masks of a prompt, T targets of a prompt, N targets and M matched
pairs of an image, C channels, K points or cells, h w cells of a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from training.boxes import box_overlap, boxes_of_masks, to_corners
from training.config import LossConfig
from training.models.criterion import averaged_over_workers
from training.models.mask_values import FactoredValues
from training.models.matcher import mask_cost
from training.models.point_losses import product_losses, soft_iou
from training.models.points import LossPoints, cell_centres, sample_planes
from training.models.prompt_matcher import PromptPairs, match_prompts
from training.prompts import PromptOutput, PromptTargets


@dataclass(frozen=True, eq=False)
class PromptLosses:
    """The losses of every layer, the first layer's first, without their weights; averaged over matched pairs.

    Attributes:
        mask_L: float32 (L,): binary cross-entropy at points.
        dice_L: float32 (L,): dice loss at points.
        box_L: float32 (L,): absolute differences of the four numbers of the box, summed.
        giou_L: float32 (L,): 1 less the generalised IoU of the box.
        iou_L: float32 (L,): squared error of the predicted IoU.
        total: float32 (): the weighted sum of all; what training lowers.
    """

    mask_L: Tensor
    dice_L: Tensor
    box_L: Tensor
    giou_L: Tensor
    iou_L: Tensor
    total: Tensor

    def scalars(self) -> dict[str, Tensor]:
        """What a log shows, without gradients: the total, and the losses of the last layer."""
        terms = {field.name.removesuffix("_L"): getattr(self, field.name)[-1] for field in fields(self)[:-1]}
        return {name: value.detach() for name, value in {"loss": self.total, **terms}.items()}


class PromptCriterion:
    """Compares what a model answers with what was meant.

    Args:
        config: Weights and numbers of points.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def at_points(
        self, output: PromptOutput, targets: Sequence[PromptTargets], points: Sequence[LossPoints]
    ) -> PromptLosses:
        """The losses at given points.

        Args:
            output: Predictions for B images; gradients reach them.
            targets: The targets of each of the B images, on the device of the predictions.
            points: The points of each of the B images.

        Returns:
            Losses in float32, also under autocast.

        Raises:
            ValueError: when there are not as many targets as images, or more targets than masks.
            FloatingPointError: when a prediction is not finite.
        """
        _, B, P, _, _ = output.embeddings_LBPQC.shape
        device = output.embeddings_LBPQC.device
        if not len(targets) == len(points) == B:
            raise ValueError(f"targets and points must be of {B} images, got {len(targets)} and {len(points)}")
        if any(len(found.target_PT) != P for found in targets):
            raise ValueError(f"targets must be of {P} prompts, got {[len(found.target_PT) for found in targets]}")
        with torch.autocast(device.type, enabled=False):
            of_images = [
                self._of_image(_Image.of(output, image), found, at.to(device))
                for image, (found, at) in enumerate(zip(targets, points, strict=True))
            ]
            sums_L5 = torch.stack([losses_LM5.sum(dim=1) for losses_LM5 in of_images]).sum(dim=0)
            pairs = averaged_over_workers(sums_L5.new_tensor([sum(losses.shape[1] for losses in of_images)]))
            losses_L5 = sums_L5 / pairs.clamp(min=1)
        of = self.config
        weights_5 = losses_L5.new_tensor([of.mask_weight, of.dice_weight, of.box_weight, of.giou_weight, of.iou_weight])
        total = (losses_L5 * weights_5).sum()
        if not total.isfinite():
            raise FloatingPointError(f"the loss must be finite, got {total.item()}: training has diverged")
        mask_L, dice_L, box_L, giou_L, iou_L = losses_L5.unbind(dim=1)
        return PromptLosses(mask_L, dice_L, box_L, giou_L, iou_L, total)

    def _of_image(self, predicted: _Image, targets: PromptTargets, at: LossPoints) -> Tensor:
        """(L, M, 5): the losses of the matched pairs."""
        masks_NHW = targets.masks.masks_NHW
        loss_points_K2 = torch.cat((at.candidates_K2, at.uniform_K2))
        targets_NK = sample_planes(masks_NHW, torch.cat((at.matching_K2, loss_points_K2)))
        matching_NK, loss_NK = targets_NK.tensor_split((len(at.matching_K2),), dim=1)
        boxes_N4 = boxes_of_masks(masks_NHW)
        pairs = self._pairs(predicted, targets.target_PT, matching_NK, at.matching_K2, boxes_N4)

        embeddings_LMC = predicted.embeddings_LPQC[:, pairs.prompt_M, pairs.query_M]
        wanted_MK = loss_NK[pairs.target_M]
        layers = [wanted_MK] * len(embeddings_LMC)
        losses_LM2 = product_losses(embeddings_LMC, sample_planes(predicted.features_Chw, loss_points_K2), layers, at)
        measured_LM = measured_iou(embeddings_LMC, predicted.features_Chw, masks_NHW, pairs.target_M)
        if self.config.drop_iou:
            losses_LM2 = losses_LM2 * (measured_LM > self.config.drop_iou)[..., None]
        boxes_LM2 = box_losses(predicted.boxes_LPQ4[:, pairs.prompt_M, pairs.query_M], boxes_N4[pairs.target_M])
        error_LM = predicted.ious_LPQ[:, pairs.prompt_M, pairs.query_M] - measured_LM
        return torch.cat((losses_LM2, boxes_LM2, error_LM.square()[..., None]), dim=2)

    @torch.no_grad()
    def _pairs(
        self, predicted: _Image, target_PT: Tensor, matching_NK: Tensor, points_K2: Tensor, boxes_N4: Tensor
    ) -> PromptPairs:
        """The pairs of an image, by what its last layer predicts."""
        P, Q, _ = predicted.embeddings_LPQC.shape[1:]
        N, T = len(matching_NK), target_PT.shape[1]
        features_CK = sample_planes(predicted.features_Chw, points_K2)
        values = FactoredValues(predicted.embeddings_LPQC[-1].flatten(0, 1), features_CK)
        cost_PQN = mask_cost(values, matching_NK, self.config).view(P, Q, N)
        place_PT = target_PT.clamp(min=0)
        mask_PQT = cost_PQN.gather(2, place_PT[:, None].expand(P, Q, T))
        boxes_PQT2 = box_losses(predicted.boxes_LPQ4[-1][:, :, None], boxes_N4[place_PT][:, None])
        l1_PQT, giou_PQT = boxes_PQT2.unbind(dim=3)
        cost_PQT = mask_PQT + self.config.box_weight * l1_PQT + self.config.giou_weight * giou_PQT
        return match_prompts(cost_PQT, target_PT)


def box_losses(boxes: Tensor, targets: Tensor) -> Tensor:
    """How far boxes are from those that are wanted.

    Args:
        boxes: float32 (..., 4): centre x, centre y, width, height.
        targets: The same, of a shape that can be broadcast with the first.

    Returns:
        (..., 2): the absolute differences, summed; 1 less the generalised IoU, from 0 to 2.

    Example:
        >>> box = torch.tensor([0.5, 0.5, 0.5, 0.5])
        >>> box_losses(box, box).tolist(), box_losses(box, torch.tensor([0.5, 0.5, 0.5, 0.25])).tolist()
        ([0.0, 0.0], [0.25, 0.5])
    """
    _, giou = box_overlap(to_corners(boxes), to_corners(targets))
    return torch.stack(((boxes - targets).abs().sum(dim=-1), 1 - giou), dim=-1)


@torch.no_grad()
def measured_iou(embeddings_LMC: Tensor, features_Chw: Tensor, masks_NHW: Tensor, target_M: Tensor) -> Tensor:
    """The IoU that predicted masks have with their targets, over all cells of a prediction.

    Args:
        embeddings_LMC: float32: mask embeddings.
        features_Chw: float32: the mask features.
        masks_NHW: bool or 0/1: the targets of the image.
        target_M: int64: that of each embedding.

    Returns:
        float32 (L, M) in [0, 1].
    """
    centres_K2 = cell_centres((features_Chw.shape[1], features_Chw.shape[2]), masks_NHW.device)
    wanted_MK = sample_planes(masks_NHW, centres_K2)[target_M]
    features_CK = features_Chw.flatten(1)
    return torch.stack([soft_iou(embeddings_MC @ features_CK, wanted_MK) for embeddings_MC in embeddings_LMC])


@dataclass(frozen=True, eq=False)
class _Image:
    """What is predicted for one image, in float32."""

    embeddings_LPQC: Tensor
    ious_LPQ: Tensor
    boxes_LPQ4: Tensor
    features_Chw: Tensor

    @classmethod
    def of(cls, output: PromptOutput, image: int) -> _Image:
        return cls(
            output.embeddings_LBPQC[:, image].float(),
            output.ious_LBPQ[:, image].float(),
            output.boxes_LBPQ4[:, image].float(),
            output.features_BChw[image].float(),
        )

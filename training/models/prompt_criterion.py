"""The losses of a promptable model: mask, dice, box and predicted IoU of every layer.

Each prompt has its own targets, and its masks are matched with them once, by the last layer; the layers before it are
compared with the same targets. A mask without a target is free to be anything, as no one knows what it should be; but
what it is worth is known: its IoU with the target that it is nearest to. Without that, masks that nobody asked for
would claim to be the best ones.

Source: Li et al. 2023 (Semantic-SAM), Sec. 3.2 and 3.3; the points are those of :mod:`training.models.criterion`.
Deviations: there is no class, as every pseudo-mask is an object; the masks and layers of an image share their points;
and the predicted IoU of all masks is compared, as in Ravi et al. 2024 (SAM 2), where published code takes matched ones.

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
from training.models.mask_values import MaskValues
from training.models.matcher import mask_cost
from training.models.point_losses import product_losses
from training.models.points import LossPoints, cell_centres, sample_planes
from training.models.prompt_matcher import PromptPairs, match_prompts
from training.prompts import PromptOutput, PromptTargets


@dataclass(frozen=True, eq=False)
class PromptLosses:
    """The losses of every layer, the first layer's first, without their weights.

    All but the last are averaged over matched pairs, the last over all masks of prompts that mean something.

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
            Losses in float32, also under autocast. Whoever steps looks whether the total is finite, once.

        Raises:
            ValueError: when there are not as many targets as images, or more targets than masks.
            FloatingPointError: when a prediction is not finite, so that it cannot be matched.
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
            pairs_L4 = torch.stack([sums.of_pairs_L4 for sums in of_images]).sum(dim=0)
            ious_L = torch.stack([sums.of_ious_L for sums in of_images]).sum(dim=0)
            counts_I2 = ious_L.new_tensor([(sums.pairs, sums.masks) for sums in of_images])
            counts_2 = averaged_over_workers(counts_I2.sum(dim=0))
            pairs, masks = counts_2.masked_fill(counts_2 == 0, 1)
            losses_L5 = torch.cat((pairs_L4 / pairs, ious_L[:, None] / masks), dim=1)
        of = self.config
        weights_5 = losses_L5.new_tensor([of.mask_weight, of.dice_weight, of.box_weight, of.giou_weight, of.iou_weight])
        total = (losses_L5 * weights_5).sum()
        mask_L, dice_L, box_L, giou_L, iou_L = losses_L5.unbind(dim=1)
        return PromptLosses(mask_L, dice_L, box_L, giou_L, iou_L, total)

    def _of_image(self, predicted: _Image, targets: PromptTargets, at: LossPoints) -> _Sums:
        masks_NHW = targets.masks.masks_NHW
        loss_points_K2 = torch.cat((at.candidates_K2, at.uniform_K2))
        targets_NK = sample_planes(masks_NHW, torch.cat((at.matching_K2, loss_points_K2)))
        matching_NK, loss_NK = targets_NK.tensor_split((len(at.matching_K2),), dim=1)
        boxes_N4 = boxes_of_masks(masks_NHW)
        pairs = self._pairs(predicted, targets.target_PT, matching_NK, at.matching_K2, boxes_N4)
        matched = (slice(None), pairs.prompt_M, pairs.query_M)

        embeddings_LMC = predicted.embeddings_LPQC[matched]
        layers = [loss_NK[pairs.target_M]] * len(embeddings_LMC)
        losses_LM2 = product_losses(embeddings_LMC, sample_planes(predicted.features_Chw, loss_points_K2), layers, at)
        measured_LPQ = measured_ious(predicted.embeddings_LPQC, predicted.features_Chw, targets, pairs)
        if self.config.drop_iou:
            losses_LM2 = losses_LM2 * (measured_LPQ[matched] > self.config.drop_iou)[..., None]
        boxes_LM2 = box_losses(predicted.boxes_LPQ4[matched], boxes_N4[pairs.target_M])
        asked_P = (targets.target_PT >= 0).any(dim=1)
        errors_LAQ = (predicted.ious_LPQ - measured_LPQ)[:, asked_P].square()
        return _Sums(
            of_pairs_L4=torch.cat((losses_LM2, boxes_LM2), dim=2).sum(dim=1),
            of_ious_L=errors_LAQ.sum(dim=(1, 2)),
            pairs=len(pairs),
            masks=errors_LAQ[0].numel(),
        )

    @torch.no_grad()
    def _pairs(
        self, predicted: _Image, target_PT: Tensor, matching_NK: Tensor, points_K2: Tensor, boxes_N4: Tensor
    ) -> PromptPairs:
        """The pairs of an image, by what its last layer predicts."""
        P, Q, _ = predicted.embeddings_LPQC.shape[1:]
        N, T = len(matching_NK), target_PT.shape[1]
        features_CK = sample_planes(predicted.features_Chw, points_K2)
        values = MaskValues(predicted.embeddings_LPQC[-1].flatten(0, 1), features_CK)
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
def measured_ious(embeddings_LPQC: Tensor, features_Chw: Tensor, targets: PromptTargets, pairs: PromptPairs) -> Tensor:
    """The IoU that predicted masks have with what was meant, over all cells of a prediction.

    Args:
        embeddings_LPQC: float32: mask embeddings.
        features_Chw: float32: the mask features.
        targets: What the prompts of the image mean.
        pairs: What the masks were matched with.

    Returns:
        float32 (L, P, Q) in [0, 1]: of a matched mask that with its target, of another the highest with any target of
        its prompt, and 0 where the prompt means nothing.
    """
    P, Q = embeddings_LPQC.shape[1:3]
    centres_K2 = cell_centres((features_Chw.shape[1], features_Chw.shape[2]), features_Chw.device)
    targets_NK = sample_planes(targets.masks.masks_NHW, centres_K2)
    if not len(targets_NK):
        return embeddings_LPQC.new_zeros(embeddings_LPQC.shape[:3])
    place_PQT = targets.target_PT.clamp(min=0)[:, None].expand(-1, Q, -1)
    features_CK = features_Chw.flatten(1)
    layers = []
    for embeddings_PQC in embeddings_LPQC:
        iou_PQN = pairwise_iou(embeddings_PQC.flatten(0, 1) @ features_CK, targets_NK).view(P, Q, -1)
        iou_PQT = iou_PQN.gather(2, place_PQT) * (targets.target_PT >= 0)[:, None]
        iou_PQ = iou_PQT.amax(dim=2)
        iou_PQ[pairs.prompt_M, pairs.query_M] = iou_PQN[pairs.prompt_M, pairs.query_M, pairs.target_M]
        layers.append(iou_PQ)
    return torch.stack(layers)


def pairwise_iou(logits_QK: Tensor, targets_NK: Tensor) -> Tensor:
    """Intersection over union of every prediction (logits above 0) with every target.

    Args:
        logits_QK: Mask logits at cells.
        targets_NK: float32 in [0, 1]: what share of each cell the target covers.

    Returns:
        float32 (Q, N); 0 where both are empty.

    Example:
        >>> pairwise_iou(torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])).tolist()
        [[0.5, 0.0]]
    """
    inside_QK = (logits_QK > 0).to(targets_NK.dtype)
    overlap_QN = inside_QK @ targets_NK.T
    union_QN = inside_QK.sum(dim=1)[:, None] + targets_NK.sum(dim=1) - overlap_QN
    return overlap_QN / union_QN.clamp(min=torch.finfo(union_QN.dtype).tiny)


@dataclass(frozen=True, eq=False)
class _Sums:
    """The losses of one image, summed: mask, dice, box and generalised IoU over pairs, predicted IoU over masks."""

    of_pairs_L4: Tensor
    of_ious_L: Tensor
    pairs: int
    masks: int


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

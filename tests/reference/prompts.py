"""Prompts, corrections and their losses, one prompt, one mask, one pixel after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tests.reference import criterion
from training.config import LossConfig

Array = NDArray[np.float64]


def pixels_of(mask_HW: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(x, y) of all pixels of a mask, along its rows."""
    height, width = mask_HW.shape
    return [(x, y) for y in range(height) for x in range(width) if mask_HW[y, x]]


def box_of(mask_HW: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom, as shares of the frame; zeros of an empty mask."""
    height, width = mask_HW.shape
    pixels = pixels_of(mask_HW)
    if not pixels:
        return 0.0, 0.0, 0.0, 0.0
    xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
    return min(xs) / width, min(ys) / height, (max(xs) + 1) / width, (max(ys) + 1) / height


def corners(box_cxcywh: Array) -> tuple[float, float, float, float]:
    cx, cy, w, h = box_cxcywh
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def centre_size(box_xyxy: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box_xyxy
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def box_overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> tuple[float, float]:
    """IoU and generalised IoU of two boxes given by their corners."""

    def area(box: tuple[float, float, float, float]) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = area(a) + area(b) - shared
    around = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    iou = shared / union if union else 0.0
    return iou, iou - (around - union) / around if around else iou


def layer_losses(
    last: tuple[Array, Array],
    layer: tuple[Array, Array, Array],
    targets: list[tuple[Array, NDArray[np.int64]]],
    points: list[tuple[Array, Array, Array]],
    config: LossConfig,
) -> Array:
    """float64 (5,): mask, dice, box, generalised IoU and predicted IoU of one layer.

    Args:
        last: Mask logits (B, P, Q, h, w) and boxes (B, P, Q, 4) of the last layer, for the matching.
        layer: Mask logits, boxes and predicted IoU (B, P, Q) of this one.
        targets: Masks (N, H, W) and target_PT of each image.
        points: Those of matching, candidates and uniform of each image.
        config: Numbers of points, and weights of the matching.
    """
    sums, counts = np.zeros(5), np.zeros(5)
    for b, ((masks_NHW, target_PT), (matching_K2, candidates_K2, uniform_K2)) in enumerate(
        zip(targets, points, strict=True)
    ):
        boxes = [box_of(mask_HW > 0) for mask_HW in masks_NHW]
        for p, target_T in enumerate(target_PT):
            wanted = [n for n in target_T if n >= 0]
            cost_QT = np.zeros((last[0].shape[2], len(wanted)))
            for q in range(len(cost_QT)):
                logits_K = criterion.values_at(last[0][b, p, q][None], matching_K2)[0]
                for t, n in enumerate(wanted):
                    targets_K = criterion.values_at(masks_NHW[n][None], matching_K2)[0]
                    l1, giou = box_terms(last[1][b, p, q], boxes[n])
                    cost_QT[q, t] = config.mask_weight * criterion.cross_entropy(logits_K, targets_K)
                    cost_QT[q, t] += config.dice_weight * criterion.dice(logits_K, targets_K)
                    cost_QT[q, t] += config.box_weight * l1 + config.giou_weight * giou
            target_by_query = {q: wanted[t] for q, t in zip(*linear_sum_assignment(cost_QT), strict=True)}
            for q, predicted in enumerate(layer[2][b, p] if wanted else ()):
                logits_hw, box_4 = layer[0][b, p, q], layer[1][b, p, q]
                ious = {n: criterion.soft_iou(logits_hw, masks_NHW[n]) for n in wanted}
                if q not in target_by_query:
                    sums[4] += (predicted - max(ious.values())) ** 2
                    counts[4] += 1
                    continue
                n = target_by_query[q]
                if not config.drop_iou or ious[n] > config.drop_iou:
                    certainty = [abs(criterion.value_at(logits_hw, x, y)) for x, y in candidates_K2]
                    nearest = np.argsort(certainty)[: int(config.importance * config.points)]
                    chosen_K2 = np.concatenate([candidates_K2[nearest], uniform_K2])
                    logits_K = criterion.values_at(logits_hw[None], chosen_K2)[0]
                    targets_K = criterion.values_at(masks_NHW[n][None], chosen_K2)[0]
                    sums[:2] += criterion.cross_entropy(logits_K, targets_K), criterion.dice(logits_K, targets_K)
                sums[2:] += (*box_terms(box_4, boxes[n]), (predicted - ious[n]) ** 2)
                counts += 1
    return sums / np.maximum(1, counts)


def box_terms(box_cxcywh: Array, target_xyxy: tuple[float, float, float, float]) -> tuple[float, float]:
    """Absolute differences of centre and size, summed, and 1 less the generalised IoU."""
    l1 = sum(abs(a - b) for a, b in zip(box_cxcywh, centre_size(target_xyxy), strict=True))
    return float(l1), 1 - box_overlap(corners(box_cxcywh), target_xyxy)[1]

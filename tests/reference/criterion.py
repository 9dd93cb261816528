"""Matching and losses of a whole-image model, one point of one pair after the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from training.config import LossConfig

Array = NDArray[np.float64]


def value_at(plane_HW: Array, x: float, y: float) -> float:
    """The value at (x, y) in [0, 1] between the centres of the four nearest cells; 0 outside."""
    height, width = plane_HW.shape
    column, row = x * width - 0.5, y * height - 0.5
    value = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < height and 0 <= j < width:
                value += (1 - abs(row - i)) * (1 - abs(column - j)) * float(plane_HW[i, j])
    return value


def values_at(planes_NHW: Array, points_K2: Array) -> Array:
    values = [[value_at(plane_HW, x, y) for x, y in points_K2] for plane_HW in planes_NHW]
    return np.array(values, dtype=np.float64).reshape(len(planes_NHW), len(points_K2))


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def cross_entropy(logits_K: Array, targets_K: Array) -> float:
    terms = [
        -(t * math.log(sigmoid(x)) + (1 - t) * math.log(1 - sigmoid(x)))
        for x, t in zip(logits_K, targets_K, strict=True)
    ]
    return sum(terms) / len(terms)


def dice(logits_K: Array, targets_K: Array) -> float:
    overlap = sum(sigmoid(x) * t for x, t in zip(logits_K, targets_K, strict=True))
    areas = sum(map(sigmoid, logits_K)) + sum(targets_K)
    return 1 - (2 * overlap + 1) / (areas + 1)


def cost_matrix(class_logits_Q2: Array, logits_QK: Array, targets_NK: Array, config: LossConfig) -> Array:
    cost_QN = np.zeros((len(logits_QK), len(targets_NK)))
    for q, logits_K in enumerate(logits_QK):
        objectness = sigmoid(class_logits_Q2[q, 0] - class_logits_Q2[q, 1])
        for n, targets_K in enumerate(targets_NK):
            mask_cost = config.mask_weight * cross_entropy(logits_K, targets_K)
            cost_QN[q, n] = mask_cost + config.dice_weight * dice(logits_K, targets_K)
            cost_QN[q, n] -= config.class_weight * objectness
    return cost_QN


def soft_iou(logits_HW: Array, target_HW: Array) -> float:
    """IoU over the cells of the prediction; the target is looked up at their centres."""
    height, width = logits_HW.shape
    overlap = union = 0.0
    for i in range(height):
        for j in range(width):
            covered = value_at(target_HW, (j + 0.5) / width, (i + 0.5) / height)
            inside = float(logits_HW[i, j] > 0)
            overlap += inside * covered
            union += inside + covered - inside * covered
    return overlap / union if union else 0.0


def layer_losses(
    class_logits_BQ2: Array,
    mask_logits_BQhw: Array,
    targets: list[Array],
    points: list[tuple[Array, Array, Array]],
    config: LossConfig,
) -> tuple[float, float, float]:
    """Class, mask and dice loss of one layer; the points of an image are those of matching, candidates and uniform."""
    class_sum = class_weight = mask_sum = dice_sum = 0.0
    for class_logits_Q2, logits_Qhw, masks_NHW, (matching_K2, candidates_K2, uniform_K2) in zip(
        class_logits_BQ2, mask_logits_BQhw, targets, points, strict=True
    ):
        cost_QN = cost_matrix(
            class_logits_Q2, values_at(logits_Qhw, matching_K2), values_at(masks_NHW, matching_K2), config
        )
        pairs = dict(zip(*linear_sum_assignment(cost_QN), strict=True))
        for q, (of_object, of_none) in enumerate(class_logits_Q2):
            weight = 1 if q in pairs else config.no_object_weight
            margin = of_object - of_none if q in pairs else of_none - of_object
            class_sum -= weight * math.log(sigmoid(margin))
            class_weight += weight
        for q, n in pairs.items():
            if config.drop_iou and soft_iou(logits_Qhw[q], masks_NHW[n]) <= config.drop_iou:
                continue
            certainty = [abs(value_at(logits_Qhw[q], x, y)) for x, y in candidates_K2]
            nearest = np.argsort(certainty)[: int(config.importance * config.points)]
            chosen_K2 = np.concatenate([candidates_K2[nearest], uniform_K2])
            logits_K = values_at(logits_Qhw[q][None], chosen_K2)[0]
            targets_K = values_at(masks_NHW[n][None], chosen_K2)[0]
            mask_sum += cross_entropy(logits_K, targets_K)
            dice_sum += dice(logits_K, targets_K)
    masks = max(1, sum(map(len, targets)))
    return class_sum / class_weight, mask_sum / masks, dice_sum / masks

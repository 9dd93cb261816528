"""Deformable attention as loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def deformable_attention(
    value_BSMD: Tensor, sizes_hw: list[tuple[int, int]], points_BQMLP2: Tensor, weights_BQMLP: Tensor
) -> Tensor:
    """(B, Q, M * D): for every query and head, the sum over levels, points and the four cells around a point."""
    B, _, M, D = value_BSMD.shape
    _, Q, _, L, P, _ = points_BQMLP2.shape
    seen = []
    for b in range(B):
        for q in range(Q):
            for m in range(M):
                total_D = value_BSMD.new_zeros(D)
                start = 0
                for level in range(L):
                    h, w = sizes_hw[level]
                    for p in range(P):
                        x = points_BQMLP2[b, q, m, level, p, 0] * w - 0.5
                        y = points_BQMLP2[b, q, m, level, p, 1] * h - 0.5
                        column, row = math.floor(x.item()), math.floor(y.item())
                        for i in (row, row + 1):
                            for j in (column, column + 1):
                                if 0 <= i < h and 0 <= j < w:
                                    share = (1 - abs(x - j)) * (1 - abs(y - i))
                                    value_D = value_BSMD[b, start + i * w + j, m]
                                    total_D = total_D + weights_BQMLP[b, q, m, level, p] * share * value_D
                    start += h * w
                seen.append(total_D)
    return torch.stack(seen).view(B, Q, M * D)


def points_in_boxes(boxes_BQ4: Tensor, offsets_BQMLP2: Tensor) -> Tensor:
    """(B, Q, M, L, P, 2): from the centre of a box, an offset of P along an axis leads to its edge."""
    points_BQMLP2 = torch.empty_like(offsets_BQMLP2)
    B, Q, M, L, P, _ = offsets_BQMLP2.shape
    for b in range(B):
        for q in range(Q):
            centre_x, centre_y, width, height = boxes_BQ4[b, q]
            for m in range(M):
                for level in range(L):
                    for p in range(P):
                        x, y = offsets_BQMLP2[b, q, m, level, p]
                        points_BQMLP2[b, q, m, level, p, 0] = centre_x + x / P * width / 2
                        points_BQMLP2[b, q, m, level, p, 1] = centre_y + y / P * height / 2
    return points_BQMLP2

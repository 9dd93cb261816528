"""The published way from logits to masks: everything is resized to the original image before anything is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional

from tests.reference.dense import dense_masks
from training.samples import FactoredOutput


@dataclass(frozen=True)
class Published:
    """Of each query: the logits at the original image, and the score (0 for an empty mask)."""

    logits_QHW: NDArray[np.float32]
    score_Q: NDArray[np.float32]


def published_masks(
    output: FactoredOutput,
    padded_hw: tuple[int, int],
    unpadded_hw: tuple[int, int],
    original_hw: tuple[int, int],
    *,
    image: int = 0,
) -> Published:
    """Two bilinear resizes of dense masks, and scores (Cheng et al. 2022, Mask2Former's instance inference)."""
    masks_BQhw = dense_masks(output)[-1]
    logits_1QHW = functional.interpolate(masks_BQhw[image : image + 1], size=padded_hw, mode="bilinear")
    logits_1QHW = logits_1QHW[:, :, : unpadded_hw[0], : unpadded_hw[1]]
    logits_QHW = functional.interpolate(logits_1QHW, size=original_hw, mode="bilinear")[0]
    inside_QHW = logits_QHW > 0
    area_Q = inside_QHW.flatten(1).sum(dim=1)
    mean_Q = (logits_QHW.sigmoid() * inside_QHW).flatten(1).sum(dim=1) / area_Q.clamp(min=1)
    class_Q = output.class_logits_LBQ2[-1, image].softmax(dim=-1)[:, 0]
    return Published(logits_QHW.numpy(), (class_Q * mean_Q).numpy())

"""Clicks that correct an answer: where the mask that was meant and the one that was given differ.

Whoever clicks has one mask in mind, sees an answer, and clicks what is missing in it or what is too much. The meant
mask is the one of lowest rank among those that agree with all clicks so far. It agrees with the new click, too, so it
stays the meant one; others that do not agree are no longer asked for.

Source: Kirillov et al. 2023 (Segment Anything), Sec. A, for clicks that are drawn uniformly from the error of the
answer that the model thinks best. Deviation: masks are compared on the grid of the prediction, at pixels that are drawn
anew for every round, so every pixel can be clicked and no answer is enlarged to the size of the image.

Axes: N masks of an image, P prompts, K points of a prompt, H W pixels, h w cells of an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.config import PromptConfig
from training.data.prompts import Asked, nth_pixels, pixel_centres
from training.prompts import NEGATIVE, PADDING, POSITIVE
from training.samples import Targets


def corrected_from(config: PromptConfig) -> Iterator[int]:
    """The rounds of correction: from which prompt on each is for.

    Args:
        config: The last ``corrected_share`` of the prompts get one to ``corrections`` clicks, equally many prompts each
            number of them. Prompts come in a drawn order, so which ones these are does not matter.

    Yields:
        Indices of prompts, not falling; one for each round that has any.

    Example:
        >>> list(corrected_from(PromptConfig(per_image=60, corrected_share=0.5, corrections=3)))
        [30, 40, 50]
    """
    corrected = round(config.corrected_share * config.per_image)
    for done in range(config.corrections):
        remaining = corrected * (config.corrections - done) // config.corrections
        if remaining:
            yield config.per_image - remaining


def with_corrections(
    asked: Asked,
    targets: Targets,
    logits_Phw: Tensor,
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    first: int = 0,
) -> Asked:
    """The prompts of an image with another click each, of those that were answered.

    Args:
        asked: All prompts of the image.
        targets: Its masks, in the padded frame.
        logits_Phw: The answers to the prompts from ``first`` on, one each: above 0 where the mask is.
        size_hw: Height and width of the image in the frame: nobody clicks its padding.
        rng: Of the image and the round.
        first: The prompts before this one stay as they are.

    Returns:
        Prompts of one point more: ``PADDING`` where the answer is right, where no mask is meant, and before ``first``.
    """
    masks_NHW = targets.masks_NHW
    (N, H, W), P, device = masks_NHW.shape, len(asked.kind_P), masks_NHW.device
    offset_y, offset_x = rng.random(2).tolist()
    nth_P = torch.from_numpy(rng.integers(2**62, size=P)).to(device)[first:]
    points_P2 = torch.zeros(P, 2, device=device)
    labels_P = torch.full((P,), PADDING, dtype=torch.int64, device=device)
    fits_PN = asked.fits_PN.clone()
    if N and first < P:
        y_h = grid_pixels(logits_Phw.shape[1], H, offset_y, device)
        x_w = grid_pixels(logits_Phw.shape[2], W, offset_x, device)
        seen_hw = (y_h < size_hw[0])[:, None] & (x_w < size_hw[1])
        meant_P = asked.targets(1)[first:, 0]
        on_grid_Nhw = masks_NHW[:, y_h][:, :, x_w].bool()
        meant_Phw = on_grid_Nhw[meant_P.clamp(min=0)]
        wrong_Phw = ((logits_Phw > 0) ^ meant_Phw) & seen_hw
        column_P, row_P, area_P = nth_pixels(wrong_Phw, nth_P)
        x_P, y_P = x_w[column_P], y_h[row_P]
        clicked_NP = masks_NHW[:, y_P, x_P].bool()
        missing_P = clicked_NP[meant_P, torch.arange(P - first, device=device)]
        clicks_P = (area_P > 0) & (meant_P >= 0)
        points_P2[first:] = pixel_centres(x_P, y_P, (H, W)) * clicks_P[:, None]
        labels_P[first:] = torch.where(clicks_P, torch.where(missing_P, POSITIVE, NEGATIVE), PADDING)
        fits_PN[first:] &= (clicked_NP == missing_P).T | ~clicks_P[:, None]
    return replace(
        asked,
        points_PK2=torch.cat((asked.points_PK2, points_P2[:, None]), dim=1),
        labels_PK=torch.cat((asked.labels_PK, labels_P[:, None]), dim=1),
        fits_PN=fits_PN,
    )


def grid_pixels(cells: int, pixels: int, offset: float, device: torch.device) -> Tensor:
    """The pixels, one for each cell along an axis, at which cells are compared with masks.

    Args:
        cells: How many cells cover the axis evenly.
        pixels: How many pixels do.
        offset: Where in its cell each pixel lies, in [0, 1).
        device: Where the result is to be.

    Returns:
        int64 (cells,).

    Example:
        >>> grid_pixels(3, 12, 0.6, torch.device("cpu")).tolist()
        [2, 6, 10]
    """
    return ((torch.arange(cells, device=device) + offset) * (pixels / cells)).long()

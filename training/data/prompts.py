"""Prompts for training: clicks and boxes that are drawn for the masks of an image, and the masks that each may mean.

A click means every mask that contains it, from the part to the whole; a box means every mask that fills it. Which masks
these are is looked up in all masks of the sample, not only in the one that the prompt was drawn for.

Deviation from the published code: boxes are drawn, too, and every number is a function of the seed and the sample's
position, whatever it was put in a batch with.

Axes: N masks of an image, P prompts of an image, T targets of a prompt, K points of a prompt, H W pixels; 4 = centre x,
centre y, width, height; 2 = x, y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.boxes import box_overlap, boxes_of_masks, to_corners
from training.config import PromptConfig
from training.prompts import BOX, PADDING, POINT, POSITIVE, Prompts, PromptTargets
from training.samples import Targets

SAME_BOX = 0.8
"""A mask fills the box of another when the IoU of their boxes is at least this: a box that is drawn by hand is not
exact, and the published jitter moves boxes farther than this."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The prompts of one image, and what each may mean.

    Attributes:
        boxes_P4: float32, as in ``Prompts``.
        kind_P: int64, likewise.
        points_PK2: float32, likewise.
        labels_PK: int64, likewise.
        fits_PN: bool: whether a mask agrees with all that a prompt says.
        rank_PN: int64: a permutation of the masks for each prompt, by which is chosen among those that fit.
    """

    boxes_P4: Tensor
    kind_P: Tensor
    points_PK2: Tensor
    labels_PK: Tensor
    fits_PN: Tensor
    rank_PN: Tensor

    def targets(self, most: int) -> Tensor:
        """Which masks each prompt asks for.

        A first prompt may mean any mask that fits and asks for each once; what else is given is free. A prompt that was
        corrected asks for nothing that it does not mean: its masks are repeated until there are ``most``. Else a model
        would go on to give the same six masks, of which one is right, and never learn what further clicks say.

        Args:
            most: Of more that fit, those of the lowest ranks.

        Returns:
            int64 (P, most): indices of masks, the lowest rank first, ``PADDING`` where no more are asked for; (P, 0)
            for an image without masks.
        """
        N = self.rank_PN.shape[1]
        ranked_PN = torch.where(self.fits_PN, self.rank_PN, N)
        rank_PT, target_PT = ranked_PN.topk(min(most, N), dim=1, largest=False)
        fitting_P1 = (rank_PT < N).sum(dim=1, keepdim=True)
        corrected_P1 = self.labels_PK[:, 1:].ne(PADDING).any(dim=1, keepdim=True)
        wanted_P1 = torch.where(corrected_P1 & (fitting_P1 > 0), most, fitting_P1)
        place_T = torch.arange(most if N else 0, device=target_PT.device)
        repeated_PT = target_PT.gather(1, place_T % fitting_P1.clamp(min=1))
        return torch.where(place_T < wanted_P1, repeated_PT, PADDING)


def draw_prompts(targets: Targets, config: PromptConfig, rng: np.random.Generator) -> Asked:
    """The first prompts for the masks of an image: ``config.per_image`` of them.

    The masks take turns in a drawn order. A prompt is a pixel of its mask, each as likely, or the mask's box. An image
    without masks is asked for its middle, which means nothing: then batches stay whole, and nothing is learnt of it.

    Args:
        targets: The masks, on any device.
        config: How many prompts, and of which kind.
        rng: Of the image; equal masks and generators give equal prompts on every device.

    Returns:
        Prompts with one point each (K = 1; ``PADDING`` for boxes), on the device of the masks.

    Example:
        >>> corner = torch.zeros(1, 32, 32, dtype=torch.bool)
        >>> corner[0, :4, :4] = True
        >>> config = PromptConfig(per_image=3, box_share=0.0)
        >>> asked = draw_prompts(Targets(corner), config, np.random.default_rng(0))
        >>> bool((asked.points_PK2 < 4 / 32).all()), asked.targets(1).tolist()
        (True, [[0], [0], [0]])
    """
    masks_NHW = targets.masks_NHW
    (N, H, W), P, device = masks_NHW.shape, config.per_image, masks_NHW.device
    mask_P = _on(device, np.resize(rng.permutation(N), P)) if N else torch.zeros(P, dtype=torch.int64, device=device)
    drawn_P = _on(device, rng.integers(2**62, size=P))
    is_box_P = _on(device, rng.random(P) < config.box_share)
    noise_P4 = _on(device, rng.uniform(-1, 1, (P, 4)).astype(np.float32))
    rank_PN = _on(device, rng.permuted(np.tile(np.arange(N), (P, 1)), axis=1))
    click_4 = torch.tensor([0.5, 0.5, config.click_px / W, config.click_px / H], device=device)
    boxes_P4 = click_4.repeat(P, 1)
    fits_PN = torch.zeros(P, N, dtype=torch.bool, device=device)
    if N:
        x_P, y_P, _ = nth_pixels(masks_NHW[mask_P], drawn_P)
        boxes_P4[:, :2] = pixel_centres(x_P, y_P, (H, W))
        boxes_N4 = boxes_of_masks(masks_NHW)
        clicked_PN = masks_NHW[:, y_P, x_P].bool().T
        fits_PN = torch.where(is_box_P[:, None], same_boxes(boxes_N4)[mask_P], clicked_PN)
        boxes_P4 = torch.where(is_box_P[:, None], boxes_N4[mask_P], boxes_P4)
    else:
        is_box_P = torch.zeros_like(is_box_P)
    amount_P1 = torch.where(is_box_P, config.jitter, config.click_jitter)[:, None]
    return Asked(
        boxes_P4=jittered(boxes_P4, amount_P1 * noise_P4),
        kind_P=torch.where(is_box_P, BOX, POINT),
        points_PK2=torch.where(is_box_P[:, None], 0.0, boxes_P4[:, :2])[:, None],
        labels_PK=torch.where(is_box_P, PADDING, POSITIVE)[:, None],
        fits_PN=fits_PN,
        rank_PN=rank_PN,
    )


def batch_of(asked: Sequence[Asked], first: int = 0) -> Prompts:
    """The prompts of a batch of images.

    Args:
        asked: Those of each image, as many and with as many points.
        first: The prompts before this one are left out, of every image.
    """
    return Prompts(
        boxes_BP4=torch.stack([of_image.boxes_P4[first:] for of_image in asked]),
        kind_BP=torch.stack([of_image.kind_P[first:] for of_image in asked]),
        points_BPK2=torch.stack([of_image.points_PK2[first:] for of_image in asked]),
        labels_BPK=torch.stack([of_image.labels_PK[first:] for of_image in asked]),
    )


def targets_of(asked: Asked, targets: Targets, config: PromptConfig) -> PromptTargets:
    """What the prompts of an image should give; arguments as for :func:`draw_prompts`."""
    return PromptTargets(targets, asked.targets(config.targets))


def nth_pixels(masks_NHW: Tensor, nth_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One pixel of each mask, counted along its rows.

    Args:
        masks_NHW: bool or uint8 0/1.
        nth_N: int64, at least 0, modulo the area: large random numbers make every pixel as likely.

    Returns:
        int64 (N,) three times: its x, its y, and the area. Of an empty mask it is the last pixel of the frame.

    Example:
        >>> masks_NHW = torch.tensor([[[False, True, True], [True, False, False]]])
        >>> [values_N.item() for values_N in nth_pixels(masks_NHW, torch.tensor([1]))]
        [2, 0, 3]
    """
    N, H, W = masks_NHW.shape
    rows = torch.arange(N, device=masks_NHW.device)
    up_to_NH = masks_NHW.view(torch.uint8).sum(dim=2, dtype=torch.int64).cumsum(dim=1)
    area_N = up_to_NH[:, -1]
    nth_N = nth_N % area_N.clamp(min=1)
    y_N = (up_to_NH <= nth_N[:, None]).sum(dim=1).clamp(max=H - 1)
    row_NW = masks_NHW[rows, y_N].long()
    nth_in_row_N = nth_N - (up_to_NH[rows, y_N] - row_NW.sum(dim=1))
    x_N = (row_NW.cumsum(dim=1) <= nth_in_row_N[:, None]).sum(dim=1).clamp(max=W - 1)
    return x_N, y_N, area_N


def pixel_centres(x_N: Tensor, y_N: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """float32 (N, 2): the centres of pixels, (x, y) as shares of a frame."""
    height, width = size_hw
    return torch.stack(((x_N + 0.5) / width, (y_N + 0.5) / height), dim=1)


def same_boxes(boxes_N4: Tensor) -> Tensor:
    """bool (N, N): whether masks have boxes of nearly the same place and size; an empty mask has none."""
    corners_N4 = to_corners(boxes_N4)
    iou_NN, _ = box_overlap(corners_N4[:, None], corners_N4[None])
    return iou_NN >= SAME_BOX


def jittered(boxes_N4: Tensor, noise_N4: Tensor) -> Tensor:
    """Boxes of which centre and size are moved.

    Args:
        boxes_N4: Centre x, centre y, width, height, within [0, 1].
        noise_N4: By how much, as shares of half the width and half the height.

    Returns:
        Likewise, within [0, 1].

    Example:
        >>> jittered(torch.tensor([[0.5, 0.5, 0.25, 0.5]]), torch.tensor([[1.0, 0.0, 0.0, -1.0]])).tolist()
        [[0.625, 0.5, 0.25, 0.25]]
    """
    half_N4 = boxes_N4[:, 2:].repeat(1, 2) / 2
    return (boxes_N4 + noise_N4 * half_N4).clamp(0, 1)


def _on(device: torch.device, drawn: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(drawn).to(device)

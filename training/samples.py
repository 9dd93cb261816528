"""What data, models, engine and evaluation say to one another: sample, batch, targets, output, losses.

The mapper makes a Sample of an image record: until then the image is a file and masks are run-length codes, after it
both are crops of one size. Collate makes a Batch of Samples, a model makes an output of a Batch, and the criterion
compares it with the Batch's Targets, which gives Losses. Images stay uint8 up to the model, which knows the mean and
deviation that its weights were trained with, and so that a quarter of the bytes travels.

Axes: L layers, B images, N masks of an image, Q queries, C channels (3 colours of an image), H W pixels, h w cells of a
mask prediction, S all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

OBJECT = 0
"""Index of the class "object" in ``class_logits_BQ2``; as in public checkpoints of one class, the last is "none"."""
NO_OBJECT = 1
"""Index of the class "no object"."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The masks that a model should find in one image of a batch.

    Attributes:
        masks_NHW: bool or uint8 0/1 (N, H, W), N from 0, in the frame of the batch (padding included, and empty).

    Raises:
        TypeError: for another dtype.
        ValueError: for another number of axes.

    Example:
        >>> len(Targets(torch.zeros(5, 32, 48, dtype=torch.bool)))
        5
    """

    masks_NHW: Tensor

    def __post_init__(self) -> None:
        _require_masks("masks_NHW", self.masks_NHW)

    def __len__(self) -> int:
        return len(self.masks_NHW)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Targets:
        """The same masks on a device."""
        return Targets(self.masks_NHW.to(device, non_blocking=non_blocking))


@dataclass(frozen=True, eq=False)
class Sample:
    """One image as a model is to see it, with its masks.

    Attributes:
        key: What names the image in its source: a relative path, or an image id.
        image_CHW: uint8 (3, H, W), RGB.
        masks_NHW: bool or uint8 0/1 (N, H, W); N is 0 where there are none, or where they are not wanted.
        position: Its place in the endless stream of training samples, which all randomness about it is drawn from.

    Raises:
        TypeError: for another dtype.
        ValueError: when the axes or the sizes of image and masks do not fit.
    """

    key: str
    image_CHW: Tensor
    masks_NHW: Tensor
    position: int = 0

    def __post_init__(self) -> None:
        if self.image_CHW.dtype != torch.uint8:
            raise TypeError(f"image_CHW must be uint8, got {self.image_CHW.dtype}")
        if self.image_CHW.ndim != 3 or self.image_CHW.shape[0] != 3:
            raise ValueError(f"image_CHW must have the axes (3, H, W), got shape {tuple(self.image_CHW.shape)}")
        _require_masks("masks_NHW", self.masks_NHW)
        if self.masks_NHW.shape[1:] != self.image_CHW.shape[1:]:
            raise ValueError(
                f"masks_NHW must be of the size of the image {self.size_hw}, got {tuple(self.masks_NHW.shape[1:])}"
            )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image as the model is to see it, in pixels."""
        return self.image_CHW.shape[1], self.image_CHW.shape[2]


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one frame: images are padded with zeros at the right and at the bottom.

    Attributes:
        images_BCHW: uint8 (B, 3, H, W), RGB. The model normalises them, and sets the padding to zero after that.
        sizes_hw: B pairs: the height and width of each image without its padding.
        targets: B Targets in the padded frame.
        keys: B names, as in Sample.
        positions: B numbers, as in Sample.
    """

    images_BCHW: Tensor
    sizes_hw: tuple[tuple[int, int], ...]
    targets: tuple[Targets, ...]
    keys: tuple[str, ...]
    positions: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images_BCHW)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""
        return Batch(
            images_BCHW=self.images_BCHW.to(device, non_blocking=non_blocking),
            sizes_hw=self.sizes_hw,
            targets=tuple(targets.to(device, non_blocking=non_blocking) for targets in self.targets),
            keys=self.keys,
            positions=self.positions,
        )


@dataclass(frozen=True, eq=False)
class FactoredOutput:
    """What a whole-image model predicts: the masks of its layers, not multiplied out.

    A mask is the dot product of a query's embedding with the features of each cell. The losses look at some points of
    some masks, and sampling is linear: so the logits of all queries at all cells (5 GB for ten layers of 2,000 queries
    at 1024 pixels, and as much again for their gradient) are never needed.

    Attributes:
        class_logits_LBQ2: float (L, B, Q, 2): object, no object (:data:`OBJECT`, :data:`NO_OBJECT`). Layers before the
            last are there for deep supervision; the last comes last, and in inference alone.
        embeddings_LBQC: float (L, B, Q, C): a mask embedding a query; the product is above 0 where the mask is.
        features_BChw: float (B, C, h, w): the mask features, which all layers share; cell centres cover the padded
            image evenly.
    """

    class_logits_LBQ2: Tensor
    embeddings_LBQC: Tensor
    features_BChw: Tensor


class StepLosses(Protocol):
    """What a step of training lowers, and what a log shows of it."""

    @property
    def total(self) -> Tensor:
        """float32 (): gradients reach the model."""
        ...

    def scalars(self) -> dict[str, Tensor]:
        """float32 (): each under its name, without gradients; the total as ``loss``."""
        ...


@dataclass(frozen=True, eq=False)
class Losses:
    """The three losses of every layer of a whole-image model, the first layer's first, without their weights.

    Attributes:
        class_L: float32 (L,): cross-entropy of object and no object, averaged over queries with their weights.
        mask_L: float32 (L,): binary cross-entropy at points, averaged over targets.
        dice_L: float32 (L,): dice loss at points, averaged over targets.
        total: float32 (): the weighted sum of all; what training lowers.
    """

    class_L: Tensor
    mask_L: Tensor
    dice_L: Tensor
    total: Tensor

    def scalars(self) -> dict[str, Tensor]:
        """What a log shows, without gradients: the total, and the three losses of the last layer."""
        shown = {"loss": self.total, "class": self.class_L[-1], "mask": self.mask_L[-1], "dice": self.dice_L[-1]}
        return {name: value.detach() for name, value in shown.items()}


def collate(samples: Sequence[Sample], *, divisor: int = 32, side: int = 0) -> Batch:
    """A batch of samples, padded to the largest of them.

    Args:
        samples: At least one.
        divisor: Height and width of the frame are multiples of it (the coarsest stride of the model).
        side: They are at least this, so that a sample's frame does not depend on what else is in its batch.

    Returns:
        A Batch in the order of the samples.

    Raises:
        ValueError: when there are no samples.

    Example:
        >>> images = [torch.zeros(3, 30, 40, dtype=torch.uint8), torch.zeros(3, 50, 20, dtype=torch.uint8)]
        >>> samples = [Sample(str(i), x, x[:1].bool()) for i, x in enumerate(images)]
        >>> tuple(collate(samples).images_BCHW.shape)
        (2, 3, 64, 64)
    """
    if not samples:
        raise ValueError("samples must be at least one, got none")
    height, width = (
        -(-max(side, *(sample.size_hw[axis] for sample in samples)) // divisor) * divisor for axis in (0, 1)
    )
    images_BCHW = samples[0].image_CHW.new_zeros(len(samples), 3, height, width)
    targets = []
    for image_CHW, sample in zip(images_BCHW, samples, strict=True):
        h, w = sample.size_hw
        image_CHW[:, :h, :w] = sample.image_CHW
        masks_NHW = sample.masks_NHW.new_zeros(len(sample.masks_NHW), height, width)
        masks_NHW[:, :h, :w] = sample.masks_NHW
        targets.append(Targets(masks_NHW))
    return Batch(
        images_BCHW=images_BCHW,
        sizes_hw=tuple(sample.size_hw for sample in samples),
        targets=tuple(targets),
        keys=tuple(sample.key for sample in samples),
        positions=tuple(sample.position for sample in samples),
    )


def _require_masks(name: str, masks_NHW: Tensor) -> None:
    if masks_NHW.dtype not in (torch.bool, torch.uint8):
        raise TypeError(f"{name} must be bool or uint8, got {masks_NHW.dtype}")
    if masks_NHW.ndim != 3:
        raise ValueError(f"{name} must have three axes (N, H, W), got shape {tuple(masks_NHW.shape)}")

"""What data, models and predictors say to one another about prompts: what is asked, what is wanted, what is predicted.

Coordinates are shares of the padded frame of the batch, so that no frame's size has to travel with them.

Axes: L layers, B images, P prompts of an image, K points of a prompt, Q masks of a prompt, T targets of a prompt,
C channels, h w cells of a mask; 4 = centre x, centre y, width, height; 2 = x, y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.samples import Targets

POINT = 0
"""The kind of a prompt that began with a click."""
BOX = 1
"""The kind of a prompt that began with a box; clicks may refine it."""
POSITIVE = 1
"""The label of a point that belongs to what is wanted."""
NEGATIVE = 0
"""The label of a point that does not."""
PADDING = -1
"""The label of a place that holds no point, or of a target that is none."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """What a batch of images is asked; each image equally often.

    Attributes:
        boxes_BP4: float32 in [0, 1]: the anchor, where queries look first. Of a click it is a small square around the
            first positive point, of a box the box itself.
        kind_BP: int64: :data:`POINT` or :data:`BOX`.
        points_BPK2: float32 in [0, 1]; K from 0. The click that the anchor is around is one of them.
        labels_BPK: int64: :data:`POSITIVE`, :data:`NEGATIVE`, or :data:`PADDING` where there is no point.

    Raises:
        TypeError: for another dtype.
        ValueError: when the shapes do not fit one another.

    Example:
        >>> prompts = Prompts(torch.full((1, 9, 4), 0.5), torch.zeros(1, 9, dtype=torch.int64),
        ...                   torch.full((1, 9, 2, 2), 0.5), torch.ones(1, 9, 2, dtype=torch.int64))
        >>> [part.kind_BP.shape[1] for part in prompts.chunks(4)]
        [4, 4, 1]
    """

    boxes_BP4: Tensor
    kind_BP: Tensor
    points_BPK2: Tensor
    labels_BPK: Tensor

    def __post_init__(self) -> None:
        for name, dtype in (("boxes_BP4", torch.float32), ("points_BPK2", torch.float32)):
            _require_dtype(name, getattr(self, name), dtype)
        for name in ("kind_BP", "labels_BPK"):
            _require_dtype(name, getattr(self, name), torch.int64)
        shapes = [tuple(tensor.shape) for tensor in self._tensors()]
        asked = shapes[1]
        K = shapes[3][2] if len(shapes[3]) == 3 else 0
        if len(asked) != 2 or shapes != [(*asked, 4), asked, (*asked, K, 2), (*asked, K)]:
            raise ValueError(
                f"prompts must have the shapes (B, P, 4), (B, P), (B, P, K, 2) and (B, P, K), got {shapes}"
            )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Prompts:
        """The same prompts on a device."""
        return Prompts(*(tensor.to(device, non_blocking=non_blocking) for tensor in self._tensors()))

    def chunks(self, size: int) -> Iterator[Prompts]:
        """The same prompts, at most so many of an image at a time, in their order."""
        for start in range(0, self.kind_BP.shape[1], size):
            yield Prompts(*(tensor[:, start : start + size] for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.boxes_BP4, self.kind_BP, self.points_BPK2, self.labels_BPK


@dataclass(frozen=True, eq=False)
class PromptTargets:
    """What the prompts of one image should give.

    Attributes:
        masks: The image's masks, in the frame of the batch.
        target_PT: int64: which of the masks each prompt asks for, :data:`PADDING` where there are fewer; one that is
            there several times is to be given as often.

    Raises:
        TypeError: for another dtype.
        ValueError: for another number of axes.
    """

    masks: Targets
    target_PT: Tensor

    def __post_init__(self) -> None:
        _require_dtype("target_PT", self.target_PT, torch.int64)
        if self.target_PT.ndim != 2:
            raise ValueError(f"target_PT must have two axes (P, T), got shape {tuple(self.target_PT.shape)}")

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PromptTargets:
        """The same targets on a device."""
        masks = self.masks.to(device, non_blocking=non_blocking)
        return PromptTargets(masks, self.target_PT.to(device, non_blocking=non_blocking))


@dataclass(frozen=True, eq=False)
class PromptOutput:
    """What a promptable model predicts; its masks are not multiplied out, as in ``FactoredOutput``.

    Attributes:
        embeddings_LBPQC: float: a mask embedding a query; the last layer comes last.
        ious_LBPQ: float: the IoU that the model expects each mask to have with what is wanted; not clamped to [0, 1].
        boxes_LBPQ4: float32 in [0, 1]: where the mask is expected.
        features_BChw: float: the mask features, which all layers share.
    """

    embeddings_LBPQC: Tensor
    ious_LBPQ: Tensor
    boxes_LBPQ4: Tensor
    features_BChw: Tensor

    def mask_logits(self, image: int, prompts: slice | Tensor = slice(None)) -> Tensor:
        """The masks of the last layer for some prompts of one image.

        Args:
            image: Which image of the batch.
            prompts: Which of its prompts; each takes Q x h x w numbers of memory.

        Returns:
            float (P, Q, h, w): above 0 where the mask is; cell centres cover the padded image evenly.
        """
        embeddings_PQC = self.embeddings_LBPQC[-1, image, prompts]
        features_Chw = self.features_BChw[image]
        return (embeddings_PQC @ features_Chw.flatten(1)).view(*embeddings_PQC.shape[:2], *features_Chw.shape[1:])


Answer = Callable[[Prompts], PromptOutput]
"""What answers prompts: a model that has seen the images."""
Ask = Callable[[Answer], Prompts]
"""What makes prompts of how others are answered: for clicks that correct what was given."""


def _require_dtype(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")

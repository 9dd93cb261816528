"""Clicks and boxes in pixels of an image, checked, and as a network is asked them.

A click names a pixel: (0, 0) is the first one, and its middle is meant. A box has edges between pixels and is
half-open, as boxes of masks are: that of the first pixel alone is (0, 0, 1, 1).

Axes: P prompts, K points of a prompt, 2 = x, y; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from training.boxes import to_centre_size
from training.postprocess.frame import Frame
from training.prompts import BOX, NEGATIVE, PADDING, POINT, POSITIVE, Prompts

_LABELS = {POSITIVE: "wanted", NEGATIVE: "not wanted", PADDING: "no point"}


@dataclass(frozen=True, eq=False)
class PixelPrompts:
    """Prompts of one image, checked; :func:`checked` makes them.

    Attributes:
        points_PK2: float64 (P, K, 2): pixels, K is 0 where there are boxes alone.
        labels_PK: int64 (P, K): 1 for a point that is wanted, 0 for one that is not, -1 for no point.
        boxes_P4: float64 (P, 4), half-open; None for none.
    """

    points_PK2: NDArray[np.float64]
    labels_PK: NDArray[np.int64]
    boxes_P4: NDArray[np.float64] | None

    def __len__(self) -> int:
        return len(self.points_PK2)


def checked(
    size_hw: tuple[int, int],
    points_PK2: ArrayLike | None = None,
    labels_PK: ArrayLike | None = None,
    boxes_P4: ArrayLike | None = None,
) -> PixelPrompts:
    """Prompts of an image of so many pixels; arguments and errors as for :func:`prompts_of`."""
    if points_PK2 is None and boxes_P4 is None:
        raise ValueError("points or a box must be given, got neither")
    boxes = None if boxes_P4 is None else _checked_boxes(np.asarray(boxes_P4, dtype=np.float64), size_hw)
    if points_PK2 is None:
        if labels_PK is not None:
            raise ValueError("labels must come with points, got labels alone")
        points_PK2 = np.zeros((0 if boxes is None else len(boxes), 0, 2))
    points, labels = _checked_points(np.asarray(points_PK2, dtype=np.float64), labels_PK, size_hw)
    if boxes is not None and len(boxes) != len(points):
        raise ValueError(f"boxes must be one for each of the {len(points)} prompts of the points, got {len(boxes)}")
    if boxes is None:
        _require_wanted(labels)
    return PixelPrompts(points, labels, boxes)


def prompts_of(
    frame: Frame,
    points_PK2: ArrayLike | None = None,
    labels_PK: ArrayLike | None = None,
    boxes_P4: ArrayLike | None = None,
    *,
    click_px: float,
) -> Prompts:
    """What a network is asked about one image.

    Args:
        frame: Its sizes.
        points_PK2: Numbers (P, K, 2): pixels of the image, x from 0 to its width - 1; None for none.
        labels_PK: (P, K): 1 for a point that belongs to what is wanted, 0 for one that does not, -1 for a place that
            holds no point; None for all 1.
        boxes_P4: Numbers (P, 4) within the image; None for none. The points of a prompt with a box refine it.
        click_px: Side of the square that a click is to the network, in pixels of its input.

    Returns:
        Prompts of a batch of one image, on the CPU.

    Raises:
        ValueError: when shapes do not fit one another, a point or a box is not in the image, a box is empty, a label is
            another number, or a prompt has neither a box nor a point that is wanted.

    Example:
        >>> asked = prompts_of(Frame((64, 64), (64, 32), (8, 4)), [[[3, 0]]], click_px=6)
        >>> asked.boxes_BP4.tolist(), asked.points_BPK2.tolist()
        ([[[0.4375, 0.0625, 0.09375, 0.09375]]], [[[[0.4375, 0.0625]]]])
    """
    return network_prompts(frame, checked(frame.original_hw, points_PK2, labels_PK, boxes_P4), click_px=click_px)


def network_prompts(frame: Frame, prompts: PixelPrompts, *, click_px: float) -> Prompts:
    """Prompts in pixels as a network is asked them; arguments as for :func:`prompts_of`."""
    points, labels, boxes = prompts.points_PK2, prompts.labels_PK, prompts.boxes_P4
    # A pixel's number is where it begins; its middle is half a pixel on.
    places_PK2 = frame.shares(points + 0.5)
    places_PK2[labels == PADDING] = 0
    if boxes is None:
        anchors_P4 = _around_clicks(places_PK2, labels, frame, click_px)
    else:
        anchors_P4 = to_centre_size(torch.from_numpy(frame.shares(boxes.reshape(-1, 2, 2))).flatten(1))
    return Prompts(
        boxes_BP4=anchors_P4[None],
        kind_BP=torch.full((1, len(points)), POINT if boxes is None else BOX),
        points_BPK2=torch.from_numpy(places_PK2)[None],
        labels_BPK=torch.from_numpy(labels)[None],
    )


def _around_clicks(
    places_PK2: NDArray[np.float32], labels_PK: NDArray[np.int64], frame: Frame, click_px: float
) -> torch.Tensor:
    """A small square around the first point of each prompt that is wanted."""
    wanted_PK = labels_PK == POSITIVE
    first_P2 = places_PK2[np.arange(len(places_PK2)), wanted_PK.argmax(axis=1) if wanted_PK.size else 0]
    side_2 = np.divide(click_px, frame.padded_hw[::-1])
    sides_P2 = np.tile(side_2, (len(first_P2), 1))
    return torch.from_numpy(np.concatenate((first_P2, sides_P2), axis=1).astype(np.float32))


def _require_wanted(labels_PK: NDArray[np.int64]) -> None:
    without = np.flatnonzero(~(labels_PK == POSITIVE).any(axis=1))
    if len(without):
        raise ValueError(
            f"every prompt must have a box or a point that is wanted (label {POSITIVE}), prompt {without[0]} has none"
        )


def _checked_points(
    points_PK2: NDArray[np.float64], labels_PK: ArrayLike | None, size_hw: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if points_PK2.ndim != 3 or points_PK2.shape[2] != 2:
        raise ValueError(f"points must have the shape (P, K, 2), each of them x, y, got shape {points_PK2.shape}")
    labels = np.full(points_PK2.shape[:2], POSITIVE) if labels_PK is None else np.asarray(labels_PK)
    if labels.shape != points_PK2.shape[:2]:
        raise ValueError(
            f"labels must be one for each point, of the shape {points_PK2.shape[:2]}, got shape {labels.shape}"
        )
    if not np.isin(labels, list(_LABELS)).all():
        choices = ", ".join(f"{label} ({meaning})" for label, meaning in _LABELS.items())
        raise ValueError(f"labels must be {choices}, got {_first(labels, ~np.isin(labels, list(_LABELS)))}")
    height, width = size_hw
    # Up to the borders of the first and the last pixel.
    inside = (points_PK2 >= -0.5) & (points_PK2 <= (width - 0.5, height - 0.5))
    outside = ~inside.all(axis=2) & (labels != PADDING)
    if outside.any():
        x, y = _first(points_PK2, outside)
        raise ValueError(
            f"points must lie in the image, x from 0 to {width - 1} and y from 0 to {height - 1}, got ({x:g}, {y:g})"
        )
    return points_PK2, labels.astype(np.int64)


def _checked_boxes(boxes_P4: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    if boxes_P4.ndim != 2 or boxes_P4.shape[1] != 4:
        raise ValueError(
            f"boxes must have the shape (P, 4), each of them left, top, right, bottom, got shape {boxes_P4.shape}"
        )
    height, width = size_hw
    x0, y0, x1, y1 = boxes_P4.T
    wrong = ~((x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height))
    if wrong.any():
        box = tuple(round(float(value), 2) for value in _first(boxes_P4, wrong))
        raise ValueError(
            f"boxes must be left, top, right, bottom within the {width}x{height} image and not empty, got {box}"
        )
    return boxes_P4


def _first(values: NDArray[Any], where: NDArray[np.bool_]) -> Any:
    return values[where][0]

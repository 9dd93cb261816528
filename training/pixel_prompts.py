"""Clicks and boxes in pixels of an image, checked, and as a network is asked them.

A click names a pixel: (0, 0) is the first one, and its middle is meant. A box has edges between pixels and is
half-open, as boxes of masks are: that of the first pixel alone is (0, 0, 1, 1).

Axes: P prompts, K points of a prompt, 2 = x, y; 4 = left, top, right, bottom.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from training.boxes import to_centre_size
from training.postprocess.frame import Frame
from training.prompts import BOX, NEGATIVE, PADDING, POINT, POSITIVE, Prompts

_MEANING = {"2": "x, y", "4": "left, top, right, bottom"}
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
    boxes = None if boxes_P4 is None else _clipped_boxes(numbers("boxes", boxes_P4, "(P, 4)"), size_hw)
    if points_PK2 is None:
        if labels_PK is not None:
            raise ValueError("labels must come with points, got labels alone")
        points_PK2 = np.zeros((0 if boxes is None else len(boxes), 0, 2))
    filled = filled_up(points_PK2, labels_PK)
    points, labels = _checked_points(numbers("points", filled[0], "(P, K, 2)"), filled[1], size_hw)
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
        points_PK2: Numbers (P, K, 2): pixels of the image, x from 0 to its width - 1; None for none. As a list, each
            prompt may have another number of points.
        labels_PK: (P, K): 1 for a point that belongs to what is wanted, 0 for one that does not, -1 for a place that
            holds no point; None for all 1. Of lists of points, lists as long.
        boxes_P4: Numbers (P, 4); None for none. What of them is not in the image is cut off. The points of a prompt
            with a box refine it.
        click_px: Side of the square that a click is to the network, in pixels of its input.

    Returns:
        Prompts of a batch of one image, on the CPU.

    Raises:
        ValueError: when shapes do not fit one another, a point or all of a box is not in the image, a box is empty, a
            label is another number, or a prompt has neither a box nor a point that is wanted.

    Example:
        >>> asked = prompts_of(Frame((64, 64), (64, 32), (8, 4)), [[[3, 0]]], click_px=6)
        >>> asked.boxes_BP4.tolist(), asked.points_BPK2.tolist()
        ([[[0.4375, 0.0625, 0.09375, 0.09375]]], [[[[0.4375, 0.0625]]]])
    """
    return network_prompts(frame, checked(frame.original_hw, points_PK2, labels_PK, boxes_P4), click_px=click_px)


def numbers(name: str, values: ArrayLike, shape: str) -> NDArray[np.float64]:
    """What was given as an array of numbers.

    Args:
        name: What it is, for errors.
        values: Lists or arrays.
        shape: Its axes, such as ``(K, 2)``: their number is checked, and that there are x, y, or four of a box.

    Raises:
        ValueError: when these are no numbers, in lists of different lengths, or of another shape.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers of the shape {shape}, got {reprlib.repr(values)}") from error
    axes = shape.strip("(,)").split(", ")
    if array.ndim != len(axes) or (axes[-1] in _MEANING and array.shape[-1] != int(axes[-1])):
        meaning = f" of {_MEANING[axes[-1]]}" if axes[-1] in _MEANING else ""
        raise ValueError(f"{name} must have the shape {shape}{meaning}, got shape {array.shape}")
    return array


def filled_up(points: ArrayLike, labels: ArrayLike | None) -> tuple[ArrayLike, ArrayLike | None]:
    """Prompts of different numbers of points, filled up with places that hold none; others as they are.

    Args:
        points: Lists or arrays of points, one for each prompt.
        labels: As many for each prompt; None for all 1.

    Raises:
        ValueError: when a prompt has another number of labels than of points, or points are not x, y.

    Example:
        >>> points, labels = filled_up([[[6, 4]], [[2, 3], [5, 5]]], [[1], [1, 0]])
        >>> points.shape, labels.tolist()
        ((2, 2, 2), [[1.0, -1.0], [1.0, 0.0]])
    """
    if not isinstance(points, list | tuple) or not all(isinstance(each, list | tuple | np.ndarray) for each in points):
        return points, labels
    counts = [len(each) for each in points]
    if len(set(counts)) < 2:
        return points, labels
    each_labels = [np.full(count, POSITIVE) for count in counts] if labels is None else labels
    if not isinstance(each_labels, Sequence) or len(each_labels) != len(points):
        raise ValueError(f"labels must be a list for each of the {len(points)} prompts, as long as that of its points")
    points_PK2 = np.zeros((len(points), max(counts), 2))
    labels_PK = np.full(points_PK2.shape[:2], PADDING, dtype=np.float64)
    for p, count in enumerate(counts):
        of_prompt = numbers(f"labels of prompt {p}", each_labels[p], "(K,)")
        if len(of_prompt) != count:
            raise ValueError(f"labels must be one for each point, got {len(of_prompt)} for the {count} of prompt {p}")
        if count:
            of_points = numbers(f"points of prompt {p}", points[p], "(K, 2)")
            points_PK2[p, :count], labels_PK[p, :count] = of_points, of_prompt
    return points_PK2, labels_PK


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
    labels = np.full(points_PK2.shape[:2], POSITIVE) if labels_PK is None else numbers("labels", labels_PK, "(P, K)")
    if labels.shape != points_PK2.shape[:2]:
        raise ValueError(
            f"labels must be one for each point, of the shape {points_PK2.shape[:2]}, got shape {labels.shape}"
        )
    if not np.isin(labels, list(_LABELS)).all():
        choices = ", ".join(f"{label} ({meaning})" for label, meaning in _LABELS.items())
        raise ValueError(f"labels must be {choices}, got {_first(labels, ~np.isin(labels, list(_LABELS))):g}")
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


def _clipped_boxes(boxes_P4: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """What of boxes is in the image."""
    height, width = size_hw
    clipped_P4 = np.clip(boxes_P4, 0, (width, height, width, height))
    least_P, least_clipped_P = ((boxes[:, 2:] - boxes[:, :2]).min(axis=1) for boxes in (boxes_P4, clipped_P4))
    for rule, is_right_P in (
        ("be finite", np.isfinite(boxes_P4).all(axis=1)),
        ("be left, top, right, bottom, not the other way round", least_P >= 0),
        ("not be empty", least_P > 0),
        (f"lie in the {width}x{height} image, in part at least", least_clipped_P > 0),
    ):
        wrong_P = ~np.asarray(is_right_P)
        if wrong_P.any():
            box = tuple(round(float(value), 2) for value in _first(boxes_P4, wrong_P))
            raise ValueError(f"boxes must {rule}, got {box}")
    return clipped_P4


def _first(values: NDArray[Any], where: NDArray[np.bool_]) -> Any:
    return values[where][0]

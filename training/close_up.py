"""Prompts answered from nearby as well: windows around what was clicked, in which a network sees more of it.

A network that was trained at a low resolution finds what is large, and nothing of a thing of a few cells. In a window
of half the sides the same thing is twice as large. The masks of all windows are many; of them
:func:`training.representatives.representatives` are given.

Axes: P prompts, K points of a prompt; 2 = x, y; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.pixel_prompts import PixelPrompts
from training.prompts import PADDING, POSITIVE

Box = tuple[int, int, int, int]

STEPS = 4
"""A window lies at whole multiples of its sides over so many, so that prompts near one another share it; one of fewer
pixels could not hold every prompt, and would show nothing."""
MOST_SHARE = 0.5
"""A prompt that is larger than this share of a window's sides is not asked in it: what is meant would not fit."""


def windows_of(prompts: PixelPrompts, size_hw: tuple[int, int], zooms: Sequence[int]) -> dict[Box, list[int]]:
    """Where prompts are looked at from nearby, and which of them.

    Args:
        prompts: Within the image.
        size_hw: Of the image.
        zooms: How many times smaller than the image's the sides of windows are; 1 stands for no window.

    Returns:
        The prompts of each window, all of which it holds; a prompt that is too large for a window, or an image that is
        too small, has none of that zoom.

    Example:
        >>> windows_of(PixelPrompts(np.array([[[70.0, 5.0]]]), np.array([[1]]), None), (40, 80), [1, 2, 4])
        {(40, 0, 80, 20): [0], (60, 0, 80, 10): [0]}
    """
    found: dict[Box, list[int]] = {}
    for p, (x0, y0, x1, y1) in enumerate(_extents(prompts)):
        for zoom in zooms:
            height, width = (-(-side // zoom) for side in size_hw)
            is_window = zoom > 1 and min(height, width) >= STEPS
            if is_window and x1 - x0 <= MOST_SHARE * width and y1 - y0 <= MOST_SHARE * height:
                left, top = _begin((x0 + x1) / 2, width, size_hw[1]), _begin((y0 + y1) / 2, height, size_hw[0])
                found.setdefault((left, top, left + width, top + height), []).append(p)
    return found


def seen_in(window: Box, prompts: PixelPrompts, chosen: Sequence[int]) -> PixelPrompts:
    """Some prompts in the pixels of a window; points outside of it are dropped.

    Args:
        window: In pixels of the image, half-open; it holds the boxes of these prompts, and the points that are wanted.
        prompts: Of the image.
        chosen: Which of them.
    """
    x0, y0, x1, y1 = window
    points_PK2 = prompts.points_PK2[chosen]
    inside_PK = ((points_PK2 >= (x0 - 0.5, y0 - 0.5)) & (points_PK2 <= (x1 - 0.5, y1 - 0.5))).all(axis=2)
    return PixelPrompts(
        points_PK2 - (x0, y0),
        np.where(inside_PK, prompts.labels_PK[chosen], PADDING),
        None if prompts.boxes_P4 is None else prompts.boxes_P4[chosen] - (x0, y0, x0, y0),
    )


def _extents(prompts: PixelPrompts) -> NDArray[np.float64]:
    """float64 (P, 4): the boxes around what each prompt says is wanted."""
    wanted_PK1 = (prompts.labels_PK == POSITIVE)[..., None]
    low_P2 = np.where(wanted_PK1, prompts.points_PK2, np.inf).min(axis=1, initial=np.inf)
    high_P2 = np.where(wanted_PK1, prompts.points_PK2 + 1, -np.inf).max(axis=1, initial=-np.inf)
    if prompts.boxes_P4 is not None:
        low_P2 = np.minimum(low_P2, prompts.boxes_P4[:, :2])
        high_P2 = np.maximum(high_P2, prompts.boxes_P4[:, 2:])
    return np.concatenate([low_P2, high_P2], axis=1)


def _begin(middle: float, side: int, most: int) -> int:
    """Where a window of a side begins so that something lies in its middle, nearly, and it in the image."""
    step = max(1, side // STEPS)
    return int(np.clip(round((middle - side / 2) / step) * step, 0, most - side))

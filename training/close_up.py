"""Prompts answered from nearby as well: windows around what was clicked, in which a network sees more of it.

A network that was trained at a low resolution finds what is large, and nothing of a thing of a few cells. In a window
of half the sides the same thing is twice as large. The masks of all windows are many; those are given that differ and
that lead evenly from the smallest to the largest.

Axes: P prompts, K points of a prompt, N masks of one prompt; 2 = x, y; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dico.masks import MaskSet
from dico.selection import suppress
from training.pixel_prompts import PixelPrompts
from training.postprocess.prompt_masks import from_part_to_whole
from training.prompts import PADDING, POSITIVE

Box = tuple[int, int, int, int]

STEPS = 4
"""A window lies at whole multiples of its sides over so many, so that prompts near one another share it."""
MOST_SHARE = 0.5
"""A prompt that is larger than this share of a window's sides is not asked in it: what is meant would not fit."""
MAX_IOU = 0.7
"""Of two masks that overlap more than this, the surer is given, as of automatic masks."""
MAX_IOU_IN_BOX = 0.85
"""Likewise of the masks of a box."""


def windows_of(prompts: PixelPrompts, size_hw: tuple[int, int], zooms: Sequence[int]) -> dict[Box, list[int]]:
    """Where prompts are looked at from nearby, and which of them.

    Args:
        prompts: Within the image.
        size_hw: Of the image.
        zooms: How many times smaller than the image's the sides of windows are; 1 stands for no window.

    Returns:
        The prompts of each window; a prompt that is too large for a window has none of that zoom.

    Example:
        >>> windows_of(PixelPrompts(np.array([[[70.0, 5.0]]]), np.array([[1]]), None), (40, 80), [1, 2, 4])
        {(40, 0, 80, 20): [0], (60, 0, 80, 10): [0]}
    """
    found: dict[Box, list[int]] = {}
    for p, (x0, y0, x1, y1) in enumerate(_extents(prompts)):
        for zoom in zooms:
            height, width = (-(-side // zoom) for side in size_hw)
            if zoom > 1 and x1 - x0 <= MOST_SHARE * width and y1 - y0 <= MOST_SHARE * height:
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


def distinct_of_views(views: Sequence[MaskSet]) -> MaskSet:
    """As many masks as the first view has, of all views of one click: distinct ones, from part to whole.

    Args:
        views: Masks of one prompt in the frame of the image, first those of the whole image.

    Returns:
        As :func:`distinct` does.
    """
    return distinct(MaskSet.concat(views), len(views[0]))


def distinct(every: MaskSet, count: int) -> MaskSet:
    """Distinct ones of many masks that one prompt may mean, from part to whole.

    Args:
        every: At least one mask.
        count: How many are wanted.

    Returns:
        So many masks, or all, by rising area. They are the nearest to areas at even steps, on a scale of ratios, from
        the smallest mask to the largest, of what is left after suppression; where that is too little, the surest of
        the others.
    """
    count = min(count, len(every))
    distinct_N, others_N = _surest_first(every, MAX_IOU)
    chosen_N = np.concatenate([np.sort(distinct_N), others_N[: max(0, count - len(distinct_N))]])
    return from_part_to_whole(every[chosen_N[_spread(every.area_px[chosen_N], count)]])


def surest_of_views(views: Sequence[MaskSet]) -> MaskSet:
    """As many masks as the first view has, of all views of one box: the surest distinct ones, from part to whole.

    A box says how large what is meant is, so masks of all sizes are of no use, and finer differences are.

    Args:
        views: As for :func:`distinct_of_views`, with scores that tell how well a mask fits the box, too.

    Returns:
        Masks by rising area: the surest of what is left after suppression, then those of the others.
    """
    every = MaskSet.concat(views)
    surest_N = np.concatenate(_surest_first(every, MAX_IOU_IN_BOX))
    return from_part_to_whole(every[np.sort(surest_N[: len(views[0])])])


def _surest_first(masks: MaskSet, max_iou: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Masks that are distinct and not empty, and the others; both by falling score."""
    surest_N = np.argsort(-masks.score, kind="stable")
    numbered = masks.with_fields(level=np.arange(len(masks)))
    is_distinct_N = np.isin(surest_N, suppress(numbered[numbered.area_px > 0], max_iou).level)
    return surest_N[is_distinct_N], surest_N[~is_distinct_N]


def _spread(area_N: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Which masks have areas at even steps on a scale of ratios, from the smallest to the largest, each once."""
    scale_N = np.log(np.maximum(area_N, 1))
    left = list(range(len(area_N)))
    found = []
    for wanted in np.linspace(scale_N.max(), scale_N.min(), count):
        found.append(left.pop(int(np.abs(scale_N[left] - wanted).argmin())))
    return np.sort(np.array(found, dtype=np.int64))

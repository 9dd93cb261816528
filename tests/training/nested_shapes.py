"""Drawn images of shapes within shapes: what a click may mean from part to whole."""

from __future__ import annotations

import numpy as np
import torch

from training.samples import Sample

SIDE = 128


def nested(seed: int, side: int = SIDE) -> Sample:
    """A disc with a smaller one in it and, in that, a smaller one yet; beside it a box with a box in it.

    The five masks are the shapes with all that is in them.
    """
    rng = np.random.default_rng(seed)
    image_3HW = rng.integers(20, 60, (3, 1, 1)) + rng.normal(0, 4, (3, side, side))
    y_HW, x_HW = (np.mgrid[:side, :side] + 0.5) / side
    left = bool(rng.integers(2))
    masks = []
    cy, cx = rng.uniform(0.35, 0.65), 0.28 if left else 0.72
    for radius in (0.26, 0.17, 0.08):
        masks.append((y_HW - cy) ** 2 + (x_HW - cx) ** 2 < radius**2)
    cy, cx = rng.uniform(0.35, 0.65), 0.75 if left else 0.25
    for half in (0.2, 0.1):
        masks.append((abs(y_HW - cy) < half) & (abs(x_HW - cx) < half * 0.9))
    for mask_HW in masks:
        image_3HW[:, mask_HW] = rng.integers(70, 255, (3, 1)) + rng.normal(0, 4, (3, int(mask_HW.sum())))
    return Sample(
        str(seed),
        torch.from_numpy(image_3HW.clip(0, 255).astype(np.uint8)),
        torch.from_numpy(np.stack(masks)),
        position=seed,
    )

"""Photographs and masks that are drawn: an input that is the same on every machine.

Axes: N masks, H W pixels, 2 = y, x.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from dico.image import Image
from dico.masks import MaskSet

ANNOTATIONS = "annotations.json"
_NOISE = 12.0


def draw_scene(size_hw: tuple[int, int], shapes: int, seed: int) -> tuple[Image, NDArray[np.bool_]]:
    """Coloured ellipses of many sizes, the small ones in front, under some noise.

    Args:
        size_hw: Height and width in pixels.
        shapes: N.
        seed: Of everything that is drawn.

    Returns:
        uint8 (H, W, 3), RGB; and bool (N, H, W), each ellipse whole, none of them empty.

    Example:
        >>> image, masks_NHW = draw_scene((60, 80), 5, seed=0)
        >>> image.shape, masks_NHW.shape, bool(masks_NHW.any(axis=(1, 2)).all())
        ((60, 80, 3), (5, 60, 80), True)
    """
    rng = np.random.default_rng(seed)
    size_2 = np.array(size_hw)
    half_N = np.sort(0.02 + 0.4 * rng.beta(1, 4, shapes))[::-1] * size_2.min()
    centre_N2 = rng.uniform(0, size_2 - 1, (shapes, 2))
    aspect_N, angle_N = rng.uniform(0.4, 1, shapes), rng.uniform(0, np.pi, shapes)
    colour_N3 = rng.integers(0, 256, (shapes, 3))
    y_H1, x_1W = np.ogrid[: size_hw[0], : size_hw[1]]
    masks_NHW = np.zeros((shapes, *size_hw), dtype=bool)
    image_HW3 = np.full((*size_hw, 3), 128.0)
    for n in range(shapes):
        dy_H1, dx_1W = y_H1 - centre_N2[n, 0], x_1W - centre_N2[n, 1]
        sine, cosine = np.sin(angle_N[n]), np.cos(angle_N[n])
        along_HW, across_HW = cosine * dx_1W + sine * dy_H1, cosine * dy_H1 - sine * dx_1W
        masks_NHW[n] = along_HW**2 + (across_HW / aspect_N[n]) ** 2 <= half_N[n] ** 2
        masks_NHW[n, round(centre_N2[n, 0]), round(centre_N2[n, 1])] = True  # however small it is
        image_HW3[masks_NHW[n]] = colour_N3[n]
    noisy_HW3 = image_HW3 + rng.normal(0, _NOISE, image_HW3.shape)
    return noisy_HW3.clip(0, 255).astype(np.uint8), masks_NHW


def write_scenes(folder: Path, count: int, size_hw: tuple[int, int], shapes: int) -> Path:
    """Writes a data set to train on.

    Args:
        folder: An empty one.
        count: How many images.
        size_hw: As for :func:`draw_scene`.
        shapes: Likewise.

    Returns:
        A json in COCO's format; the images are beside it.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        image, masks_NHW = draw_scene(size_hw, shapes, seed=index)
        name = f"{index:03d}.jpg"
        PIL.Image.fromarray(image).save(folder / name, quality=90)
        images.append({"id": index, "file_name": name, "height": size_hw[0], "width": size_hw[1]})
        masks = MaskSet.from_arrays(masks_NHW)
        annotations += masks.to_coco(image_id=index, first_id=len(annotations) + 1)
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    path = folder / ANNOTATIONS
    path.write_text(json.dumps(document), encoding="utf-8")
    return path

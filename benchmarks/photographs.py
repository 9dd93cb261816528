"""Photographs that come with scikit-image: an input for benchmarks that any machine has."""

from __future__ import annotations

from pathlib import Path

import skimage

from dico.image import Image, load_image

NAMES = (
    "astronaut.png",
    "coffee.png",
    "chelsea.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
)


def photograph_paths(count: int = len(NAMES)) -> list[Path]:
    """The first ``count`` files, people and things first.

    Raises:
        ValueError: when there are not so many.
    """
    if not 1 <= count <= len(NAMES):
        raise ValueError(f"count must be within 1..{len(NAMES)}, the photographs that there are, got {count}")
    return [Path(skimage.__file__).parent / "data" / name for name in NAMES[:count]]


def photographs(count: int = len(NAMES)) -> dict[str, Image]:
    """The first ``count`` photographs by name, RGB, at their own sizes."""
    return {path.stem: load_image(path) for path in photograph_paths(count)}

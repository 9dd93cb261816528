"""Photographs that come with scikit-image: an input that any machine has."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

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
"""People and things first."""


def photograph_paths(count: int = len(NAMES)) -> list[Path]:
    """The first ``count`` files.

    Raises:
        ValueError: when there are not so many.
    """
    if not 1 <= count <= len(NAMES):
        raise ValueError(f"count must be within 1..{len(NAMES)}, the photographs that there are, got {count}")
    return [Path(str(resources.files("skimage") / "data" / name)) for name in NAMES[:count]]

"""The photographs of :mod:`dico.photographs`, read."""

from __future__ import annotations

from dico.image import Image, load_image
from dico.photographs import NAMES, photograph_paths


def photographs(count: int = len(NAMES)) -> dict[str, Image]:
    """The first ``count`` photographs by name, RGB, at their own sizes."""
    return {path.stem: load_image(path) for path in photograph_paths(count)}

"""The pixels of an annotated image, which must be as many as the annotations say."""

from __future__ import annotations

from pathlib import Path

from dico.image import Image, load_image


def annotated_pixels(path: Path, size_hw: tuple[int, int]) -> Image:
    """The image at a path.

    Args:
        path: Where it lies.
        size_hw: Height and width according to its annotations.

    Raises:
        ValueError: when it cannot be read, or has another size; with its path.
    """
    pixels = load_image(path)
    if pixels.shape[:2] != size_hw:
        raise ValueError(
            f"{path} has {pixels.shape[:2]} pixels (height, width), but {size_hw} in the annotations; are they of a"
            " resized or a rotated copy?"
        )
    return pixels

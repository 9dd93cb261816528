"""What is given as an image: whether it is one, and if not, what makes one of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import torch

_OF_FLOATS = "of values from 0 to 1 (255 * image).round().astype(np.uint8) makes one"
_OF_FILE = "dico.image.load_image(path) reads one from a file"


def require_image(image: object) -> None:
    """Refuses what a model cannot be shown.

    Args:
        image: Should be uint8 (H, W, 3), RGB.

    Raises:
        TypeError: when it is no array of uint8; says what makes one of it.
        ValueError: when it has other axes, or no pixel; likewise.

    Example:
        >>> require_image("photo.jpg")
        Traceback (most recent call last):
        TypeError: image must be a uint8 array, got str: dico.image.load_image(path) reads one from a file
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image must be a uint8 array, got {_kind(image)}: {_array_of(image)}")
    if image.dtype != np.uint8:
        remedy = _OF_FLOATS if np.issubdtype(image.dtype, np.floating) else _OF_FILE
        raise TypeError(f"image must be a uint8 array, got an array of {image.dtype}: {remedy}")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image must have the shape (H, W, 3), RGB, got {image.shape}{_rgb_of(image.shape)}")


def _kind(image: object) -> str:
    return "a torch tensor" if isinstance(image, torch.Tensor) else type(image).__name__


def _array_of(image: object) -> str:
    if isinstance(image, PIL.Image.Image):
        return 'np.asarray(image.convert("RGB")) makes one'
    if isinstance(image, torch.Tensor):
        return f"of a uint8 one (3, H, W) image.permute(1, 2, 0).cpu().numpy() makes one; {_OF_FLOATS} of its array"
    return _OF_FILE if isinstance(image, str | Path) else f"np.asarray(image) may make one, {_OF_FILE}"


def _rgb_of(shape: tuple[int, ...]) -> str:
    """What makes (H, W, 3) of another shape."""
    if len(shape) == 2:
        return ": np.stack([image] * 3, axis=-1) makes one of grey"
    if len(shape) == 3 and shape[2] == 4:
        return ": image[..., :3] leaves transparency out"
    if len(shape) == 3 and shape[0] == 3:
        return ": image.transpose(1, 2, 0) makes one of (3, H, W)"
    return ""

"""How an image becomes a sample: large-scale jitter (Ghiasi et al. 2021), mirroring, colours. Pure functions.

Numbers are drawn from an explicit generator, and always as many, so that a setting does not change what is drawn for
another one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dico.image import Image, resize_image
from training.config import DataConfig
from training.data.mask_crops import View, crop_rle, resized_area_px

_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as image files have it


def draw_view(size_hw: tuple[int, int], config: DataConfig, rng: np.random.Generator) -> View:
    """A random view of an image: resized to fit the square times a drawn factor, then cropped to at most the square.

    An image that is resized to less than the square is shown whole; a batch pads it.

    Args:
        size_hw: Height and width of the image in pixels.
        config: Its ``image_size``, ``scale``, ``log_scale`` and ``flip``.
        rng: Four numbers are drawn from it.

    Returns:
        The view.

    Example:
        >>> config = DataConfig(image_size=64, scale=(1.0, 1.0), flip=0.0)
        >>> draw_view((100, 200), config, np.random.default_rng(0)).crop_hw
        (32, 64)
    """
    low, high = config.scale
    along, down, across, chance = rng.random(4).tolist()
    factor = low * (high / low) ** along if config.log_scale else low + (high - low) * along
    side = config.image_size * factor
    resized_h, resized_w = (max(1, round(length * side / max(size_hw))) for length in size_hw)
    crop_h, crop_w = min(resized_h, config.image_size), min(resized_w, config.image_size)
    return View(
        original_hw=size_hw,
        resized_hw=(resized_h, resized_w),
        crop_yx=(int(down * (resized_h - crop_h + 1)), int(across * (resized_w - crop_w + 1))),
        crop_hw=(crop_h, crop_w),
        flipped=chance < config.flip,
    )


def crop_image(image: Image, view: View) -> Image:
    """The part of an image in a view, anti-aliased as every image that a model is given.

    Args:
        image: uint8 (H, W, 3) of ``view.original_hw``.
        view: What is shown of it.

    Returns:
        uint8 (h, w, 3) of ``view.crop_hw``.
    """
    (height, width), (resized_h, resized_w) = view.original_hw, view.resized_hw
    (top, left), (crop_h, crop_w) = view.crop_yx, view.crop_hw
    # Only what the crop shows is resized, which gives the same pixels.
    box_xyxy = (
        left * width / resized_w,
        top * height / resized_h,
        (left + crop_w) * width / resized_w,
        (top + crop_h) * height / resized_h,
    )
    cropped = resize_image(image, view.crop_hw, box_xyxy=box_xyxy)
    return np.ascontiguousarray(cropped[:, ::-1]) if view.flipped else cropped


def crop_masks(
    rles: Iterable[bytes],
    view: View,
    *,
    max_masks: int,
    min_area_px: int,
    min_visible: float = 0.0,
    rng: np.random.Generator,
) -> tuple[bytes, ...]:
    """The masks that a view shows, at most ``max_masks`` of them; each is read once, and none that is not needed.

    Args:
        rles: Compressed codes of masks of ``view.original_hw``.
        view: What is shown of them.
        max_masks: Of more, so many are drawn.
        min_area_px: What covers less of the view is left out, and of equal ones all but one.
        min_visible: A mask of which the view shows less than this share, in pixels of the view, is left out.
        rng: The order in which masks are tried is drawn from it.

    Returns:
        Compressed codes of masks of ``view.crop_hw``, in the order of ``rles``.

    Raises:
        ValueError: when a code is damaged or not of a mask of the image's size.
    """
    codes = tuple(rles)
    place_by_code: dict[bytes, int] = {}
    for place in rng.permutation(len(codes)).tolist():
        if len(place_by_code) == max_masks:
            break
        code, area_px = crop_rle(codes[place], view)
        if area_px >= min_area_px and area_px >= min_visible * resized_area_px(codes[place], view):
            place_by_code[code] = min(place, place_by_code.get(code, place))
    return tuple(sorted(place_by_code, key=place_by_code.__getitem__))


def change_colours(image: Image, amount: float, rng: np.random.Generator) -> Image:
    """The image with its brightness, contrast and saturation each changed by a factor of 1 - amount to 1 + amount.

    Args:
        image: uint8 (H, W, 3).
        amount: Within [0, 1); 0 gives the image itself.
        rng: Three numbers are drawn from it.

    Returns:
        uint8 (H, W, 3).
    """
    brightness, contrast, saturation = (1 + amount * rng.uniform(-1, 1, 3)).astype(np.float32)
    if not amount:
        return image
    bright_HWC = image.astype(np.float32) * brightness
    mean = _grey(bright_HWC).mean(dtype=np.float64).astype(np.float32)
    contrasted_HWC = mean + contrast * (bright_HWC - mean)
    grey_HW1 = _grey(contrasted_HWC)[:, :, None]
    changed_HWC = grey_HW1 + saturation * (contrasted_HWC - grey_HW1)
    changed: Image = np.clip(np.rint(changed_HWC), 0, 255).astype(np.uint8)
    return changed


def _grey(image_HWC: NDArray[np.float32]) -> NDArray[np.float32]:
    grey_HW: NDArray[np.float32] = image_HWC @ _GREY
    return grey_HW

"""Images as the pipeline sees them: RGB, upright, 8 bits.

Axes: H W pixels. Boxes are half-open xyxy in pixels.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from dico.config import ImageConfig

Image = NDArray[np.uint8]
"""uint8 (H, W, 3) RGB, upright."""

# Raster formats whose decoders only decode. What Pillow reads beyond these runs other programs (EPS), has no signature
# and so takes any file for an image (TGA), or is not a photograph.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")

ORIENTATION_TAG = 0x0112
UPRIGHT = MappingProxyType(
    {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_270,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_90,
    }
)
"""EXIF orientation (1 is upright already) to the operation that makes the image upright."""


class ImageError(ValueError):
    """A file is not an image that can be used; the message names the file and the remedy."""


def load_image(path: str | Path, *, max_pixels: int = ImageConfig.max_pixels) -> Image:
    """The image in a file, as people see it: upright, in colour, 8 bits.

    The EXIF orientation is applied where it can be read; grey, palette and CMYK become RGB; transparency is laid over
    white; grey of 16 bits is divided by 257, floats within 0 to 1 are multiplied by 255, and other integers and floats
    are stretched from their least to their greatest value; of several frames the first is taken. The content decides
    the format, not the name.

    Args:
        path: A JPEG, PNG, WebP, TIFF, GIF, BMP, PPM, JPEG 2000 or AVIF file.
        max_pixels: An image with more pixels is refused, by its header, before anything is decoded.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: when the file cannot be read, is no such image, is damaged or cut short, or is too large.
        MemoryError: when the image is allowed and does not fit.
    """
    file = Path(path)
    try:
        # A pipe that is named like an image would be waited on for ever.
        if not stat.S_ISREG(file.stat().st_mode):
            kind = "a folder" if file.is_dir() else "not a regular file"
            raise ImageError(f"{file} is {kind}; give the path of an image file")
        with open(file, "rb") as stream:
            return _decode(stream, file, max_pixels)
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{file} does not exist; check the path, or the link it is") from error
    except OSError as error:
        raise ImageError(f"{file} cannot be read ({error.strerror}); check its permissions, and the disk") from error


def resize_image(
    image: Image, size_hw: tuple[int, int], *, box_xyxy: tuple[float, float, float, float] | None = None
) -> Image:
    """The image at another size, by Lanczos resampling with anti-aliasing.

    Args:
        image: uint8 (H, W, 3).
        size_hw: New height and width in pixels, both at least 1.
        box_xyxy: The part of the image to resize, in pixels and parts of pixels; None for all of it. Pixels around it
            count as they do when all is resized.

    Returns:
        uint8 (size_hw[0], size_hw[1], 3).

    Raises:
        ValueError: when ``size_hw`` is not positive, or the box is empty or reaches outside the image.

    Example:
        >>> resize_image(np.full((4, 6, 3), 7, dtype=np.uint8), (2, 3))[:, :, 0].tolist()
        [[7, 7, 7], [7, 7, 7]]
    """
    height, width = size_hw
    if min(height, width) < 1:
        raise ValueError(f"size_hw must be two positive integers, got {size_hw}")
    whole = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    if image.shape[:2] == (height, width) and box_xyxy in (None, whole):
        return image
    resized = PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.LANCZOS, box=box_xyxy)
    return np.asarray(resized, dtype=np.uint8)


def crop(image: Image, box_xyxy: Sequence[int]) -> Image:
    """The part of an image inside a half-open box; a view, not a copy.

    Args:
        image: uint8 (H, W, 3).
        box_xyxy: x0, y0, x1, y1 in whole pixels, with 0 <= x0 < x1 <= W and 0 <= y0 < y1 <= H.

    Returns:
        uint8 (y1 - y0, x1 - x0, 3).

    Raises:
        ValueError: when the box is empty or reaches outside the image.

    Example:
        >>> crop(np.zeros((4, 6, 3), dtype=np.uint8), (1, 0, 6, 2)).shape
        (2, 5, 3)
    """
    x0, y0, x1, y1 = (int(v) for v in box_xyxy)
    height, width = image.shape[:2]
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(
            f"box_xyxy must lie within the {width}x{height} image and not be empty, got {(x0, y0, x1, y1)}"
        )
    return image[y0:y1, x0:x1]


def _decode(stream: IO[bytes], file: Path, max_pixels: int) -> Image:
    # Decoders raise whatever broken bytes lead them into (struct, zlib, index errors ...), so all of it is caught here.
    try:
        picture = _open(stream, file)
        width, height = picture.size
        if width * height <= max_pixels:
            picture.load()
            return _to_rgb(_turn_upright(picture))
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk failed, not the decoder
        raise ImageError(
            f"{file} is damaged, cut short or of an unknown kind ({error}); save it again as RGB from its source"
        ) from error
    raise ImageError(
        f"{file} has {width}x{height} pixels, more than {max_pixels}; shrink it, or raise image.max_pixels"
    )


def _open(stream: IO[bytes], file: Path) -> ImageFile:
    """The opened, not yet decoded picture.

    The formats are asked one by one, as ``PIL.Image.open`` does, because that function refuses or warns by a limit that
    belongs to the whole process, and ours is an argument.
    """
    prefix = stream.read(16)
    if not prefix:
        raise ImageError(f"{file} is empty; fetch it again")
    PIL.Image.init()
    for name in FORMATS:
        factory, accepts = PIL.Image.OPEN.get(name, (None, None))
        # A text in place of True says that Pillow was built without this format.
        if factory is None or accepts is None or accepts(prefix) is not True:
            continue
        stream.seek(0)
        try:
            return factory(stream, str(file))
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # the signature fits and the header does not: Pillow's way to say "not mine"
    if prefix[4:8] == b"ftyp":
        raise ImageError(f"{file} is HEIC or another kind that is not read; convert it to JPEG")
    raise ImageError(f"{file} is not an image that is read ({', '.join(FORMATS)}); put one of these in its place")


def _turn_upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    # After load(): Pillow turns TIFF files itself while it loads them, and then forgets the tag.
    try:
        orientation = picture.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # metadata that is broken anyhow; the pixels are good, and upright is what most images are
        orientation = 1
    operation = UPRIGHT.get(orientation)
    return picture if operation is None else picture.transpose(operation)


def _to_rgb(picture: PIL.Image.Image) -> Image:
    if picture.mode.startswith("I;16"):
        return _grey_to_rgb(np.asarray(picture, dtype=np.uint16))
    if picture.mode in ("I", "F"):
        return _grey_to_rgb(_to_16_bits(np.asarray(picture)))
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        rgba = picture.convert("RGBA") if picture.mode != "La" else picture.convert("LA").convert("RGBA")
        white = PIL.Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        picture = PIL.Image.alpha_composite(white, rgba)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def _to_16_bits(values_HW: NDArray[Any]) -> NDArray[np.uint16]:
    """uint16 (H, W) of 32-bit integers or floats, which come without a range: what fits a usual one keeps it."""
    is_integer = values_HW.dtype.kind in "iu"
    values_HW = np.nan_to_num(values_HW.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values_HW.min()), float(values_HW.max())
    usual = 65535.0 if is_integer else 1.0
    if not 0 <= low <= high <= usual:
        values_HW, usual = values_HW - low, high - low
    return np.round(values_HW * (65535 / usual if usual else 0.0)).astype(np.uint16)


def _grey_to_rgb(grey_HW: NDArray[np.uint16]) -> Image:
    grey8_HW = ((grey_HW.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey8_HW[:, :, None], 3, axis=2)

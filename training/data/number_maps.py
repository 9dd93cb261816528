"""PNG files whose pixels are numbers, of categories or of segments: read as they are, or refused by name.

Pillow opens a PNG of 16 bits a channel as one of 8 bits when it has colours, without a word, as it does a grey one of
fewer bits, and makes colours of grey when it is asked to: numbers would become other numbers. So the header of the file
is asked what it holds.

Axes: H W pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTH_AT = 24  # after the signature, the length and name of IHDR, width and height
_GREY = ("L", "P", "I;16", "I")  # Pillow below 11 has 16 bits as "I"; numbers of a palette are those of its entries
_COLOURED = ("RGB", "RGBA", "P")
_IN_WORDS = {"RGB": "of colours", "RGBA": "of colours with transparency", "P": "with a palette", "1": "black and white"}
_IN_WORDS |= {"L": "grey", "I;16": "grey", "I": "grey", "LA": "grey with transparency"}


def bits_of(png: Path) -> int:
    """Bits of a channel, as the header of a PNG says; 0 when the file is no PNG.

    Raises:
        OSError: when it cannot be opened.
    """
    with open(png, "rb") as stream:
        head = stream.read(_DEPTH_AT + 1)
    return head[_DEPTH_AT] if len(head) > _DEPTH_AT and head.startswith(_SIGNATURE) else 0


def read_numbers(png: Path, size_hw: tuple[int, int], *, bits: int = 8) -> NDArray[np.uint16]:
    """The numbers of a grey PNG, or of one with a palette: uint16 (H, W).

    Args:
        png: The file.
        size_hw: The height and width that it must have.
        bits: How many a number may have: 8 or 16.

    Raises:
        FileNotFoundError: when it does not exist.
        ValueError: when it is no PNG, cannot be read, has another size, colours, transparency, or more bits; or is grey
            with fewer than 8.
    """
    pixels_HW = _read(png, _GREY, bits, f"be grey, with a number of {bits} bits a pixel")
    _require_size(png, pixels_HW, size_hw)
    return pixels_HW.astype(np.uint16)


def read_colours(png: Path, size_hw: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The colours of a PNG of 8 bits a channel: uint8 (H, W, 3). Transparency is ignored.

    Args:
        png: The file.
        size_hw: The height and width that it must have; None for whatever it has.

    Raises:
        FileNotFoundError: when it does not exist.
        ValueError: when it is no PNG, cannot be read, has another size, is grey, or has 16 bits a channel.
    """
    pixels_HW3 = _read(png, _COLOURED, 8, "have three channels of 8 bits, which are numbers", "RGB")
    if size_hw is not None:
        _require_size(png, pixels_HW3, size_hw)
    return pixels_HW3


def _require_size(png: Path, pixels: NDArray[Any], size_hw: tuple[int, int]) -> None:
    if pixels.shape[:2] != size_hw:
        raise ValueError(f"{png} must have the size of its image, {size_hw} (H, W), got {pixels.shape[:2]}")


def _read(png: Path, kinds: Collection[str], bits: int, must: str, convert: str | None = None) -> NDArray[Any]:
    try:
        with PIL.Image.open(png) as picture:
            depth = bits_of(png)
            # Pillow spreads grey of fewer than 8 bits over 0 to 255; numbers of a palette it leaves alone.
            least = 1 if picture.mode == "P" else 8
            if picture.mode not in kinds or not least <= depth <= bits:
                raise ValueError(
                    f"{png} must {must}; it is {_kind(picture, depth)}. Save it anew as that with the same numbers, or "
                    "fetch it again"
                )
            return np.asarray(picture.convert(convert) if convert else picture)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError) as error:  # the second is what Pillow says of broken chunks
        raise ValueError(f"{png} cannot be read ({error}); fetch it again") from error


def _kind(picture: PIL.Image.Image, depth: int) -> str:
    if not depth:
        return f"no PNG, but {picture.format}"
    return f"{_IN_WORDS.get(picture.mode, f'of the kind {picture.mode}')}, {depth} bits a channel"

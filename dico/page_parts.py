"""What pages that open from disk are made of: pictures inside the page, and the colours that all of them share."""

from __future__ import annotations

import base64
import io
from importlib import resources

import PIL.Image

from dico.image import Image

JPEG_QUALITY = 84
ASSETS = "gallery_assets"


def fit_within(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """The size, at most ``side`` on its longer side and with its proportions; never enlarged.

    Example:
        >>> fit_within((1000, 500), 640), fit_within((10, 20000), 640), fit_within((4, 3), 640)
        ((640, 320), (1, 640), (4, 3))
    """
    scale = min(1.0, side / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def jpeg_url(image: Image, *, quality: int = JPEG_QUALITY) -> str:
    """An image as JPEG in a ``data:`` address.

    Args:
        image: uint8 (H, W, 3).
        quality: JPEG's, 1 to 95.
    """
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def page_asset(name: str) -> str:
    """The text of a file that belongs to the pages, such as ``"shared.css"``: the look that they share."""
    return resources.files("dico").joinpath(ASSETS, name).read_text(encoding="utf-8")

"""Files that people hand to the page: images of a size that the machine can bear, or a sentence that says why not."""

from __future__ import annotations

from pathlib import Path

from dico.image import Image, ImageError, load_image

MAX_MEGABYTES = 20
"""Of 2^20 bytes, as Gradio counts them."""
MAX_MEGAPIXELS = 40
LIMITS = f"up to {MAX_MEGABYTES} MB and {MAX_MEGAPIXELS} megapixels"


def read_upload(path: str | Path) -> Image:
    """The image in a file that was handed in.

    Args:
        path: Where the file lies now; its last part is the name that its owner knows.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: when it is too large, or no image that is read. It names the file as its owner does, and the limit
            or the remedy.
    """
    file = Path(path)
    size_mb = file.stat().st_size / 2**20
    if size_mb > MAX_MEGABYTES:
        raise ImageError(f"{file.name} has {size_mb:.1f} MB, more than {MAX_MEGABYTES}; shrink it first")
    try:
        return load_image(file, max_pixels=MAX_MEGAPIXELS * 1_000_000)
    except ImageError as error:
        # What the reader says is for files on one's own disk: its folder, and a setting that the page does not have.
        sentence = str(error).replace(str(file), file.name)
        raise ImageError(sentence.replace("; shrink it, or raise image.max_pixels", "; shrink it first")) from error

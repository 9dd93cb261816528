"""Image files of a data set that is being prepared: their sizes, and one folder that has those that are evaluated."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import PIL.Image
from PIL.ExifTags import Base

_TURNED_SIDEWAYS = (5, 6, 7, 8)  # values of EXIF's orientation


def image_size_hw(path: Path) -> tuple[int, int]:
    """Height and width of an image as :func:`dico.image.load_image` gives it, upright; pixels are not read.

    Args:
        path: The file.

    Raises:
        ValueError: when it is not an image.
        FileNotFoundError: when it does not exist.
    """
    try:
        with PIL.Image.open(path) as picture:
            width, height = picture.size
            sideways = picture.getexif().get(Base.Orientation) in _TURNED_SIDEWAYS
    except PIL.UnidentifiedImageError as error:
        raise ValueError(f"{path} is not an image that can be read; fetch it again") from error
    return (width, height) if sideways else (height, width)


def gather_images(files: Mapping[str, Path], folder: Path, *, copy: bool = False) -> str:
    """Makes a folder have the images of a data set, without what else lies beside them in its source.

    Images are linked, relative to their place, so that a folder that holds both may be moved; where the system allows
    no links, they are copied. What is there already stays, so that an interrupted call is made good by another; that
    of another call, too.

    Args:
        files: Where each image lies, by its path from the folder, with forward slashes.
        folder: The folder; made when it does not exist.
        copy: Whether images are copied rather than linked.

    Returns:
        What was done: ``"linked"`` or ``"copied"``.

    Raises:
        FileExistsError: when a file that is not the image has its name.
        OSError: when an image cannot be copied.
    """
    for name, file in files.items():
        target = folder / name
        if target.exists():
            if not target.samefile(file) and target.stat().st_size != file.stat().st_size:
                raise FileExistsError(f"{target} exists and is not {file}; remove it, or choose another output")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            copy = copy or not _linked(file, temporary)
            if copy:
                shutil.copy2(file, temporary)
            temporary.replace(target)  # also of a link whose image is gone
        finally:
            temporary.unlink(missing_ok=True)
    return "copied" if copy else "linked"


def _linked(file: Path, link: Path) -> bool:
    """Whether a link could be made: Windows lets only some users do that."""
    try:
        link.symlink_to(os.path.relpath(file.resolve(), link.parent.resolve()))
    except (OSError, ValueError):  # ValueError: another drive
        return False
    return True

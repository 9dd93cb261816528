"""What the user points at, as a sorted list of image files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .tif .tiff .gif .bmp .dib .ppm .pgm .pbm .pnm .pfm"  # noqa: SIM905
    " .jp2 .j2k .jpx .avif .avifs .heic .heif".split()
)
"""Names that are taken for images. Those of HEIC too, so that such photographs are reported and not passed over."""


def list_images(source: str | Path) -> list[Path]:
    """The image files that a folder, a file, a list file or a pattern stands for.

    Args:
        source: A folder (searched with its sub-folders and what they link to; hidden ones and files without an image's
            extension are passed over), an image file, a ``.txt`` file with one path a line (relative to that file), or
            a pattern such as ``"photos/**/*.jpg"``.

    Returns:
        Sorted paths without repetitions, at least one. A listed file need not exist: what is wrong with an image is
        found when it is loaded, and recorded there.

    Raises:
        FileNotFoundError: when ``source`` does not exist, or a pattern matches nothing.
        ValueError: when there is no image in it.
    """
    return [Path(name) for name in list_image_names(source)]


def list_image_names(source: str | Path) -> list[str]:
    """What :func:`list_images` gives, as strings, which take a quarter of the memory: for millions of images."""
    path = Path(source)
    if path.is_dir():
        found = set(_in_folder(str(path)))
        where = f"the folder {path}"
    elif path.suffix.lower() == ".txt" and path.is_file():
        found = set(_in_list(path))
        where = f"the list {path}"
    elif path.exists() or path.is_symlink():
        return [str(path)]
    elif glob.has_magic(str(source)):
        matches = glob.glob(str(source), recursive=True)  # noqa: PTH207 - may be absolute
        if not matches:
            raise FileNotFoundError(f"no file matches the pattern {str(source)!r}; quote it, and check it with ls")
        found = {str(Path(match)) for match in matches if _is_image_name(match) and not os.path.isdir(match)}  # noqa: PTH112
        where = f"what the pattern {str(source)!r} matches"
    else:
        raise FileNotFoundError(f"{source} does not exist; INPUT is a folder, an image, a .txt list or a pattern")
    if not found:
        raise ValueError(f"no image in {where}; known extensions: {' '.join(sorted(EXTENSIONS))}")
    return sorted(found, key=path_order)


def path_order(name: str) -> str:
    """A key to sort paths by, folder by folder as ``Path`` does: NUL is in no name and comes before all that is.

    Example:
        >>> sorted(["a/z", "a b/c", "a"]), sorted(["a/z", "a b/c", "a"], key=path_order)
        (['a', 'a b/c', 'a/z'], ['a', 'a/z', 'a b/c'])
    """
    return name.replace(os.sep, "\0")


def _is_image_name(path: str) -> bool:
    name = os.path.basename(path)  # noqa: PTH119 - called for each of millions of files
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")  # noqa: PTH122


def _in_folder(root: str) -> Iterator[str]:
    visited = set()
    # Linked folders are followed, as data sets are often put together from links; `visited` ends the circles.
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        start = str(Path(folder, "x"))[:-1]
        yield from (start + name for name in names if _is_image_name(name))


def _in_list(list_file: Path) -> Iterator[str]:
    # surrogateescape: file names are bytes, and not all of them are UTF-8.
    text = list_file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    # Not splitlines(), which also ends a line at characters that names may hold.
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return (str(list_file.parent / line) for line in lines if line.strip())

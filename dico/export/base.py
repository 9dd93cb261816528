"""What every export format shares: labelled images in, a report out, and names for one label file an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dico.masks import MaskSet
from dico.store import Manifest, MaskStore


@dataclass(frozen=True)
class LabelledImage:
    """One image that has masks, perhaps none.

    Attributes:
        image_id: From 1, the same in every format and every export of a store: the image's index plus one.
        first_mask_id: Id of its first mask; the masks of all images are numbered through, from 1.
        path: Relative to the manifest's root.
        file: Where the image lies.
        masks: Its masks.
    """

    image_id: int
    first_mask_id: int
    path: str
    file: Path
    masks: MaskSet


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        format: Name of the format.
        output: The file or folder.
        images: Images written.
        masks: Masks of those images.
        failed: Images left out because labelling them failed.
        pending: Images left out because they were not labelled yet.
        notes: What the format could not hold, and what using it takes; a sentence each.
    """

    format: str
    output: Path
    images: int
    masks: int
    failed: int
    pending: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.output}: {self.masks:,} masks of {self.images:,} images ({self.format})"]
        if self.failed or self.pending:
            lines.append(f"images left out: {self.failed:,} failed, {self.pending:,} not labelled yet")
        return "\n".join([*lines, *self.notes])


Writer = Callable[[Iterable[LabelledImage], Manifest, Path], tuple[str, ...]]
"""Writes images to a file or folder, consuming them one by one, and returns the notes of the report."""


def labelled_images(store: MaskStore) -> Iterator[LabelledImage]:
    """Yields the images of a store that have masks, in order, reading one shard at a time."""
    next_mask_id = 1
    for row in store:
        if row.masks is not None:
            yield LabelledImage(row.index + 1, next_mask_id, row.path, store.image_path(row), row.masks)
            next_mask_id += len(row.masks)


def label_names(paths: Sequence[str]) -> dict[str, PurePosixPath]:
    """A name without extension for the label file of each image.

    Args:
        paths: Paths of images, each once.

    Returns:
        For each path itself without its extension; with it, for all, when two images differ in nothing else.

    Example:
        >>> label_names(["a/1.jpg", "b/1.jpg"])["a/1.jpg"].as_posix()
        'a/1'
        >>> label_names(["1.jpg", "1.png"])["1.png"].as_posix()
        '1.png'
    """
    bare = {path: PurePosixPath(path).with_suffix("") for path in paths}
    if len(set(bare.values())) == len(bare):
        return bare
    return {path: PurePosixPath(path) for path in paths}

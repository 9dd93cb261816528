"""What sources of data give: images and their masks, neither of them read before they are asked for; names, places."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dico.masks import MaskSet

_LOOK_AT = 20  # images, to find out in which folder they are


@dataclass(frozen=True)
class ImageRecord:
    """One image of a source.

    Attributes:
        key: What names it in its source: a relative path, or an image id. Unique there.
        path: Where the image lies.
        read_masks: Reads its masks, which are run-length codes in the frame of the image as
            :func:`dico.image.load_image` gives it. Raises ValueError, with a message that names the image and the
            remedy, when they are damaged; no masks are an empty set.
    """

    key: str
    path: Path
    read_masks: Callable[[], MaskSet]


class Source(Sequence[ImageRecord]):
    """The images of one data set, in a fixed order; small when pickled, as every process that reads ahead gets it.

    Attributes:
        name: What messages call it: the file or the folder that it was read from.
    """

    name: str

    def keys(self) -> Iterator[str]:
        """The keys of all images, in their order; a source that has them without its records gives them sooner."""
        return (record.key for record in self)

    def contents(self) -> str:
        """How many images there are, and a digest of their keys: another one where there are other images."""
        digest = hashlib.sha256()
        for key in self.keys():
            digest.update(key.encode() + b"\0")
        return f"{len(self)} images, {digest.hexdigest()[:12]}"


def images_folder(annotations: Path, file_names: Sequence[str]) -> Path:
    """Where the images of an annotation file lie when nobody says it: in one of the usual folders.

    Args:
        annotations: The file.
        file_names: Its images, of which the first few are looked for; of some, the name may be empty.

    Returns:
        ``images`` beside the file, its own folder, the one above or, as COCO has them, ``../val2017`` of
        ``instances_val2017.json``: the first that has the most of them, which is ``images`` where none has any.
    """
    beside, above = annotations.parent, annotations.parent.parent
    folders = (beside / "images", beside, above, above / annotations.stem.rpartition("_")[2])
    looked_for = [name for name in file_names[:_LOOK_AT] if name]
    return max(folders, key=lambda folder: sum((folder / name).is_file() for name in looked_for))


def data_set_name(annotations: Path) -> str:
    """What a data set is called when nobody names it: its folder, and the file when it is not ``annotations.json``.

    Example:
        >>> data_set_name(Path("coco/annotations.json")), data_set_name(Path("coco/val.json"))
        ('coco', 'coco/val')
    """
    folder = annotations.resolve().parent.name
    return folder if annotations.stem == "annotations" else f"{folder}/{annotations.stem}"

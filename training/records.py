"""What sources of data give: one image and its masks, neither of them read before it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dico.masks import MaskSet


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

"""Sources: stores of ``dico label``, SA-1B folders, several sources as one. COCO and LVIS are in ``coco_source``."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

from dico.masks import MaskSet
from dico.store import MaskStore
from dico.store.entries import ImageEntries
from dico.store.row_reader import RowReader
from training.data.annotations import masks_of
from training.data.lazy_source import LazySource
from training.records import ImageRecord, Source

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".gif", ".JPG", ".JPEG", ".PNG")


class StoreSource(LazySource):
    """The labelled images of a store, finished or not; images that failed or were not tried yet are left out.

    Args:
        path: The folder of the store.
        images: The folder that the paths of the store are relative to; None for where they were when it was made.
        name: What messages call it; None for its path.

    Raises:
        FileNotFoundError: when the folder is not a store.
        StoreError: when it is damaged.
    """

    def __init__(self, path: Path, *, images: Path | None = None, name: str | None = None) -> None:
        self.name = name or str(path)
        store = MaskStore.open(path)
        self._root = images or Path(store.manifest.root)
        self._rows = RowReader(store)
        self._indices = self._rows.labelled()

    def __len__(self) -> int:
        return len(self._indices)

    def record(self, place: int) -> ImageRecord:
        """The record of the labelled image at a place."""
        index = int(self._indices[place])
        path = self._rows.store.manifest.entries[index].path
        return ImageRecord(path, self._root / path, partial(self._masks, index))

    def contents(self) -> str:
        """As of any source, and the hash of the configuration that the images were labelled with."""
        return f"{super().contents()}, labels {self._rows.store.manifest.config_hash}"

    def _masks(self, index: int) -> MaskSet:
        masks = self._rows.row(index).masks
        if masks is None:
            raise ValueError(f"image {index} of {self._rows.store.path} has failed since the store was opened")
        return masks


class Sa1bSource(LazySource):
    """A folder of json files, one an image, as SA-1B has them; searched with its sub-folders.

    A json holds ``image`` (``width``, ``height``) and ``annotations`` with compressed run lengths. Its image has the
    same name but for the extension.

    Args:
        path: The folder of the json files.
        images: The folder of the images, with the same sub-folders; None for the same folder.
        name: What messages call it; None for its path.

    Raises:
        ValueError: when there is no json file.
    """

    def __init__(self, path: Path, *, images: Path | None = None, name: str | None = None) -> None:
        self.name = name or str(path)
        self._path = path
        self._images = images or path
        files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.json"))
        if not files:
            raise ValueError(f"{path} must hold a json file an image, as SA-1B does; it has none")
        self._files = ImageEntries(files, [-1] * len(files))

    def __len__(self) -> int:
        return len(self._files)

    def keys(self) -> Iterator[str]:
        """The names of the json files; nothing is looked for on the disk, as each record's image is."""
        return (self._files[place].path for place in range(len(self)))

    def record(self, place: int) -> ImageRecord:
        """The record of the json file at a place."""
        file = self._files[place].path
        candidates = _images_of(self._images / file.removesuffix(".json"))
        image = next((path for path in candidates if path.is_file()), candidates[1])  # whose absence says where to look
        return ImageRecord(file, image, partial(_sa1b_masks, self._path / file))


def is_sa1b(folder: Path) -> bool:
    """Whether a folder has a json beside an image of its name, as SA-1B has them."""
    return any(path.is_file() for file in folder.rglob("*.json") for path in _images_of(file.with_suffix("")))


def _images_of(stem: Path) -> list[Path]:
    """What the image may be called that has the name of a json."""
    return [stem, *(stem.with_name(stem.name + suffix) for suffix in _SUFFIXES)]


class ConcatSource(LazySource):
    """Several sources as one list; a key is the name of the source and the key there.

    Args:
        sources: At least one; their names differ.

    Raises:
        ValueError: when two sources have one name.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        twins = [name for name, times in Counter(source.name for source in sources).items() if times > 1]
        if twins:
            raise ValueError(f"every source must be named once, got {', '.join(twins)} more often")
        self.name = ", ".join(source.name for source in sources)
        self._sources = tuple(sources)
        self._ends = list(accumulate(map(len, self._sources)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def contents(self) -> str:
        """What each of the sources has; their names do not matter."""
        return "; ".join(source.contents() for source in self._sources)

    def record(self, place: int) -> ImageRecord:
        """The record at a place of the list of all."""
        which = bisect_right(self._ends, place)
        source = self._sources[which]
        record = source[place - (self._ends[which - 1] if which else 0)]
        return replace(record, key=f"{source.name}:{record.key}")


def _sa1b_masks(path: Path) -> MaskSet:
    try:
        content = json.loads(path.read_bytes())
        size_hw = (int(content["image"]["height"]), int(content["image"]["width"]))
        annotations = list(content["annotations"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or not as SA-1B has it ({error!r}); fetch it again") from error
    return masks_of(annotations, size_hw, str(path))

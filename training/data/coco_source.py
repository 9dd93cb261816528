"""COCO and LVIS annotation files as a source that stays small: annotations are left in the file until they are needed.

A file of a million annotations is 10 GB as Python objects. Here each annotation is parsed once when the file is opened,
checked, and forgotten but for where it lies in the file.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dico.ground_truth import file_name_of
from dico.masks import MaskSet
from dico.store.entries import ImageEntries
from training.data.annotations import fault_of, masks_of
from training.data.json_stream import decoded, elements, read_text, sections
from training.data.lazy_source import LazySource
from training.records import ImageRecord, images_folder

_LOG = logging.getLogger(__name__)


class CocoSource(LazySource):
    """The images of a COCO or LVIS annotation file, by rising id, also those without annotations.

    Crowds are not masks and are left out. An annotation that has no mask in its image (see
    :func:`training.data.annotations.fault_of`) is left out, too; all that were are logged as one warning.

    Args:
        path: The json. Where an image has no ``file_name``, as in LVIS, folder and name are those of its ``coco_url``.
        images: The folder that file names are relative to; None for ``images`` beside the json, the folder of the
            json, the one above it or, as COCO has them, ``../val2017`` of ``instances_val2017.json``, whichever has the
            images.
        name: What messages call it; None for its path.

    Attributes:
        faults: Why annotations were left out, a sentence each.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
        ValueError: when it is not a COCO annotation file, an id occurs twice, or an annotation has no image.
    """

    def __init__(self, path: Path, *, images: Path | None = None, name: str | None = None) -> None:
        self.name = name or str(path)
        self._path = path
        text = read_text(path)
        try:
            found = sections(text, ("images", "annotations"))
            if not {"images", "annotations"} <= found.keys():
                raise ValueError(f"{path} must be a COCO annotation file with images and annotations")
            images_of_file = (decoded(text[start:end]) for _, start, end in elements(text, found["images"]))
            listed = sorted(images_of_file, key=lambda image: image["id"])
            self._ids = np.array([image["id"] for image in listed], np.int64)
            self._sizes_N2 = np.array([(image["height"], image["width"]) for image in listed], np.int64).reshape(-1, 2)
            file_names = [file_name_of(image) for image in listed]
            del listed
            self._files = ImageEntries(file_names, [-1] * len(file_names))
            self._require_images()
            self.faults = self._index(text, found["annotations"])
        except (json.JSONDecodeError, KeyError, TypeError, IndexError, StopIteration) as error:
            raise ValueError(f"{path} is not a COCO annotation file, or is damaged ({error!r})") from error
        self._size = path.stat().st_size
        self._images = images or images_folder(path, file_names)
        if self.faults:
            some = "; ".join(self.faults[:3]) + ("; ..." if len(self.faults) > 3 else "")
            _LOG.warning("%s: annotations that are left out: %d: %s", self.name, len(self.faults), some)

    def __len__(self) -> int:
        return len(self._ids)

    def record(self, place: int) -> ImageRecord:
        """The record of the image at a place."""
        return ImageRecord(str(self._ids[place]), self._images / self._files[place].path, partial(self._masks, place))

    def contents(self) -> str:
        """As of any source, and the size of the file."""
        return f"{super().contents()}, {self._size} bytes"

    def _require_images(self) -> None:
        if not len(self._ids):
            raise ValueError(f"{self._path} must hold at least one image")
        if (np.diff(self._ids) == 0).any():
            raise ValueError(f"{self._path} must give every image an id of its own")
        if self._sizes_N2.min() < 1:
            bad = int(self._ids[self._sizes_N2.min(axis=1).argmin()])
            raise ValueError(f"{self._path} must give images positive sizes, image {bad} has another")

    def _index(self, text: str, at: int) -> tuple[str, ...]:
        """Finds where the annotations of each image lie; returns why some are left out."""
        place_by_id = {image_id: place for place, image_id in enumerate(self._ids.tolist())}
        sizes = self._sizes_N2.tolist()
        places, starts, ends, faults = array("q"), array("q"), array("q"), []
        for annotation, start, end in elements(text, at):
            place = place_by_id.get(annotation["image_id"])
            if place is None:
                raise ValueError(
                    f"annotation {annotation.get('id')} is of image {annotation['image_id']}, not in {self._path}"
                )
            if annotation.get("iscrowd"):
                continue
            if (fault := fault_of(annotation, (sizes[place][0], sizes[place][1]))) is not None:
                faults.append(f"annotation {annotation.get('id')} of image {annotation['image_id']} {fault}")
                continue
            places.append(place)
            starts.append(start)
            ends.append(end)
        by_image = np.argsort(np.asarray(places), kind="stable")
        self._spans_N2: NDArray[np.int64] = np.stack([np.asarray(starts), np.asarray(ends)], axis=1)[by_image]
        self._first = np.searchsorted(np.asarray(places)[by_image], np.arange(len(self) + 1))
        return tuple(faults)

    def _masks(self, place: int) -> MaskSet:
        spans = self._spans_N2[self._first[place] : self._first[place + 1]].tolist()
        image = f"image {self._ids[place]} of {self._path}"
        height, width = self._sizes_N2[place].tolist()
        with open(self._path, "rb") as stream:
            if stream.seek(0, 2) != self._size:
                raise ValueError(f"{self._path} was changed since it was opened; start again")
            try:
                annotations = [_read(stream, start, end) for start, end in spans]
            except ValueError as error:
                raise ValueError(f"{self._path} was changed since it was opened ({error}); start again") from error
        return masks_of(annotations, (height, width), image)


def _read(stream: Any, start: int, end: int) -> Mapping[str, Any]:
    stream.seek(start)
    annotation: Mapping[str, Any] = json.loads(stream.read(end - start))
    return annotation

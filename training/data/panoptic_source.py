"""COCO's panoptic annotations as a source: a PNG an image, whose colours are the numbers of its segments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dico.mask_codes import encode_mask
from dico.masks import MaskSet
from training.data.lazy_source import LazySource
from training.data.number_maps import read_colours
from training.records import ImageRecord, images_folder

_CHUNK_BYTES = 1 << 20


class PanopticSource(LazySource):
    """The images of a panoptic annotation file, by rising id, those without annotations left out.

    Every segment is a mask, things and stuff alike, but for crowds. Segments do not overlap.

    Args:
        path: The json. Its PNG files are in the folder of the same name, as in ``panoptic_val2017/``, or beside it.
        images: The folder of the images; None for ``images`` beside the json, its own folder, the one above or, as COCO
            has them, ``../val2017`` of ``panoptic_val2017.json``, whichever has the images.
        name: What messages call it; None for its path.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
        ValueError: when it is not a panoptic annotation file, an id occurs twice, or an annotation has no image.
    """

    def __init__(self, path: Path, *, images: Path | None = None, name: str | None = None) -> None:
        self.name = name or str(path)
        try:
            content = json.loads(path.read_bytes())
            files = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
            if len(files) < len(content["images"]):
                raise ValueError("two images have one id")
            annotations = sorted(content["annotations"], key=lambda annotation: int(annotation["image_id"]))
            self._pngs = [str(annotation["file_name"]) for annotation in annotations]
            self._ids = [int(annotation["image_id"]) for annotation in annotations]
            self._segments = [
                np.array([segment["id"] for segment in annotation["segments_info"] if not segment.get("iscrowd")], int)
                for annotation in annotations
            ]
            self._files = [files[image_id] for image_id in self._ids]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a panoptic annotation file, or is damaged ({error!r})") from error
        if len(set(self._ids)) < len(self._ids) or not self._ids:
            raise ValueError(f"{path} must have annotations, one for each image")
        beside = path.with_suffix("")
        self._folder = beside if beside.is_dir() else path.parent
        self._images = images or images_folder(path, self._files)

    def __len__(self) -> int:
        return len(self._ids)

    def segment_files(self) -> Iterator[Path]:
        """The PNG files of all images, whether they are there or not."""
        return (self._folder / png for png in self._pngs)

    def segments_digest(self) -> str:
        """The SHA-256 of the names and sizes of the PNG files: another one where masks were changed.

        Sizes are looked up in milliseconds, while the files of COCO val are 0.1 GB to read. Compressed, other masks
        seldom take the same number of bytes; where one file does, that is not noticed.
        """
        digest = hashlib.sha256()
        for png, file in zip(self._pngs, self.segment_files(), strict=True):
            size = file.stat().st_size if file.is_file() else -1
            digest.update(f"{png}\0{size}\0".encode())
        return digest.hexdigest()

    def record(self, place: int) -> ImageRecord:
        """The record of the image at a place."""
        read = partial(_masks, self._folder / self._pngs[place], self._segments[place])
        return ImageRecord(str(self._ids[place]), self._images / self._files[place], read)


def is_panoptic(path: Path) -> bool:
    """Whether a json has panoptic annotations, by which kind of mask comes first in it.

    Args:
        path: A file.
    """
    kept = b""
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            seen = kept + chunk
            places = {word: seen.find(word) for word in (b'"segments_info"', b'"segmentation"')}
            found = [(at, word) for word, at in places.items() if at >= 0]
            if found:
                return min(found)[1] == b'"segments_info"'
            kept = seen[-20:]  # a word may lie across two chunks
    return False


def _masks(png: Path, segments: np.ndarray[Any, np.dtype[np.int64]]) -> MaskSet:
    try:
        colours_HW3 = read_colours(png)
    except FileNotFoundError as error:
        raise ValueError(f"{png}, the segments of an image, is not there; fetch it again") from error
    ids_HW = colours_HW3.astype(np.int64) @ np.array([1, 1 << 8, 1 << 16])
    size_hw = (ids_HW.shape[0], ids_HW.shape[1])
    rles = []
    for segment in segments:
        mask_HW = ids_HW == segment
        if not mask_HW.any():
            raise ValueError(f"{png} has no pixel of segment {segment}, which its annotation names; fetch both again")
        rles.append(encode_mask(mask_HW))
    return MaskSet.from_rles(size_hw, rles)

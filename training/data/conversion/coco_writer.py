"""A COCO annotation file written as a stream: what converters of data sets write to.

However many annotations there are, one is in memory at a time; the entry of an image, some hundred bytes, stays.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle

from dico.atomic import atomic_file
from dico.mask_codes import encode_mask
from dico.rle import run_ends
from training.data.annotations import code_of, fault_of

Segmentation = NDArray[Any] | bytes | Mapping[str, Any] | list[Any] | None
"""A mask: bool or 0/1 (H, W); a compressed code; or what COCO files hold: polygons, run lengths, compressed or not."""
_NO_PIXEL = ("has no mask", "has an empty", "lies outside")
_EXAMPLES = 5


class CocoWriter:
    """Writes images, annotations and categories, in whatever order; :func:`coco_writer` makes it.

    Attributes:
        counts: How many ``images``, ``annotations`` (with crowds) and ``crowds`` were written, and how many
            annotations were left out: ``empty`` without a pixel in their image, ``damaged`` without a mask that can be
            read.
        left_out: Of those, the first few, a sentence each.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.counts: Counter[str] = Counter(images=0, annotations=0, crowds=0, empty=0, damaged=0)
        self.left_out: list[str] = []
        self._stream = stream
        self._images: list[str] = []
        self._sizes: dict[int, tuple[int, int]] = {}
        self._categories: dict[int, dict[str, Any]] = {}
        self._category_ids: dict[str, int] = {}
        self._last_image = 0

    def add_category(self, name: str, *, category_id: int | None = None, **fields: Any) -> int:
        """The id of a category, which is listed from now on.

        Args:
            name: Its name. Without an id, the category that has the name is meant, or else a new one.
            category_id: Its id in the source, to keep it.
            fields: What else is written of it, such as ``supercategory``.

        Raises:
            ValueError: when another category has the id.
        """
        if category_id is None:
            if name in self._category_ids:
                return self._category_ids[name]
            category_id = max(self._categories, default=0) + 1
        category = {"id": category_id, "name": name, **fields}
        if self._categories.setdefault(category_id, category) != category:
            raise ValueError(f"two categories have the id {category_id}: {self._categories[category_id]}, {category}")
        self._category_ids.setdefault(name, category_id)
        return category_id

    def add_image(self, file_name: str, size_hw: tuple[int, int], *, image_id: int | None = None, **fields: Any) -> int:
        """The id of an image, which is listed from now on, with annotations or without.

        Args:
            file_name: Its path from the folder of the images, with forward slashes.
            size_hw: Its height and width in pixels.
            image_id: Its id in the source, to keep it; None for one above all others.
            fields: What else is written of it.

        Raises:
            ValueError: when another image has the id, or the size is not positive.
        """
        if image_id is None:
            image_id = self._last_image + 1
        if image_id in self._sizes:
            raise ValueError(f"two images have the id {image_id}, the second is {file_name}")
        height, width = size_hw
        if min(height, width) < 1:
            raise ValueError(f"image {file_name} must have a positive height and width, got {size_hw}")
        self._last_image = max(self._last_image, image_id)
        self._sizes[image_id] = (height, width)
        entry = {"id": image_id, "file_name": file_name, "height": height, "width": width, **fields}
        self._images.append(json.dumps(entry))
        self.counts["images"] += 1
        return image_id

    def add_annotation(
        self, image_id: int, segmentation: Segmentation, *, category_id: int, iscrowd: bool = False, **fields: Any
    ) -> int | None:
        """The id of an annotation, which is written now; None when it is left out, as it has no mask.

        Ids are counted from 1. The mask is written as a compressed code; ``area`` and ``bbox`` (x, y, width, height)
        are taken from it.

        Args:
            image_id: The image, added before.
            segmentation: Its mask, in the frame of the image.
            category_id: Its category, added before.
            iscrowd: Whether it is a crowd, which counts neither for nor against.
            fields: What else is written of it, such as ``level``: ``"object"`` or ``"part"``; or in place of what comes
                from the mask, as the ``area`` that a file of COCO's gives.

        Raises:
            KeyError: when image or category were not added.
            ValueError: when the mask has another size than the image.
        """
        if category_id not in self._categories:
            raise KeyError(f"category {category_id} must be added before its annotations")
        if image_id not in self._sizes:
            raise KeyError(f"image {image_id} must be added before its annotations")
        code = _code_or_fault(segmentation, self._sizes[image_id], f"image {image_id}")
        if isinstance(code, str):
            self._leave_out(image_id, code)
            return None
        rle = {"size": list(self._sizes[image_id]), "counts": code}
        annotation_id = self.counts["annotations"] + 1
        annotation = {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": category_id,
            "iscrowd": int(iscrowd),
            "area": int(coco_rle.area(rle)),
            "bbox": [int(value) for value in coco_rle.toBbox(rle)],
            "segmentation": rle | {"counts": code.decode("ascii")},
            **fields,
        }
        self._stream.write((",\n" if annotation_id > 1 else "\n") + json.dumps(annotation))
        self.counts["annotations"] += 1
        self.counts["crowds"] += bool(iscrowd)
        return annotation_id

    def summary(self) -> str:
        """What was written and what was left out, in a line or two."""
        counts = self.counts
        crowds = f" ({counts['crowds']:,} of them crowds)" if counts["crowds"] else ""
        lines = [f"{counts['annotations']:,} masks{crowds} of {counts['images']:,} images"]
        if counts["empty"] or counts["damaged"]:
            more = "; ..." if counts["empty"] + counts["damaged"] > len(self.left_out) else ""
            lines.append(
                f"left out: {counts['empty']:,} without a pixel, {counts['damaged']:,} damaged: "
                f"{'; '.join(self.left_out)}{more}"
            )
        return "\n".join(lines)

    def close_sections(self) -> None:
        """Writes images and categories after the annotations; nothing can be added then."""
        if not self._images:
            raise ValueError("a COCO file must list at least one image, none was added")
        self._stream.write('\n], "images": [\n')
        self._stream.write(",\n".join(self._images))
        self._stream.write('\n], "categories": [\n')
        self._stream.write(",\n".join(json.dumps(self._categories[one]) for one in sorted(self._categories)))
        self._stream.write("\n]}\n")

    def _leave_out(self, image_id: int, fault: str) -> None:
        self.counts["empty" if fault.startswith(_NO_PIXEL) else "damaged"] += 1
        if len(self.left_out) < _EXAMPLES:
            self.left_out.append(f"one of image {image_id} {fault}")


@contextmanager
def coco_writer(path: Path, **info: Any) -> Iterator[CocoWriter]:
    """A writer of a COCO annotation file, which appears when the block ends well, or not at all.

    Args:
        path: The json to write; one that exists is replaced at the end.
        info: What the file says of itself: ``description``, ``url``, ``licence``, ``version``.

    Yields:
        The writer.

    Raises:
        ValueError: when no image was added.
    """
    with atomic_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(f'{{"info": {json.dumps(info)}, "licenses": [], "annotations": [')
        writer = CocoWriter(stream)
        yield writer
        writer.close_sections()


def _code_or_fault(segmentation: Segmentation, size_hw: tuple[int, int], image: str) -> bytes | str:
    """The compressed code of a mask, or why it has none, in words that follow its name."""
    if isinstance(segmentation, np.ndarray):
        given, segmentation = segmentation.shape, encode_mask(segmentation) if segmentation.ndim == 2 else b""
    elif isinstance(segmentation, Mapping):
        given = tuple(segmentation.get("size", ()))
    else:
        given = size_hw
    if given != size_hw:
        raise ValueError(f"{image} has {size_hw} pixels (H, W), its mask must have as many, got {given}")
    if isinstance(segmentation, bytes):
        segmentation = {"size": list(size_hw), "counts": segmentation}
    if isinstance(segmentation, Mapping) and isinstance(segmentation.get("counts"), bytes):
        segmentation = {"size": list(size_hw), "counts": segmentation["counts"].decode("latin-1")}
    annotation = {"segmentation": segmentation}
    if (fault := fault_of(annotation, size_hw)) is not None:
        return fault
    try:
        code = code_of(annotation, size_hw, image)
        lengths_R = np.diff(run_ends(code, size_hw))  # all but the first, which is background
    except ValueError as error:
        return f"has a damaged mask ({error})"
    return code if lengths_R[::2].any() else "has an empty mask"

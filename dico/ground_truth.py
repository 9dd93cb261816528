"""Ground truth as COCO annotation files hold it, one image at a time, and the store's images that belong to it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of an annotation file.

    Attributes:
        image_id: COCO's id of the image.
        file_name: COCO's name of it, or "" when the file gives none.
        size_hw: Height and width in pixels.
        annotations: Its COCO annotations, ordered by category, then as in the file.
    """

    image_id: int
    file_name: str
    size_hw: tuple[int, int]
    annotations: tuple[Mapping[str, Any], ...]

    @property
    def is_crowd(self) -> NDArray[np.bool_]:
        """bool (G,): which annotations are crowds, that count neither for nor against."""
        return np.array([bool(one.get("iscrowd", 0)) for one in self.annotations], dtype=bool)

    @property
    def area_px(self) -> NDArray[np.float64]:
        """float64 (G,): areas as annotated, or of the masks where the file gives none."""
        given = [one.get("area") for one in self.annotations]
        if None in given:
            masked = [coco_rle.area(rle) for rle in self.to_rle_dicts()]  # of 256 at once pycocotools 2.0.11 fails
            given = [area if area is not None else masked[g] for g, area in enumerate(given)]
        return np.array(given, dtype=np.float64)

    @property
    def rles(self) -> tuple[bytes, ...]:
        """G compressed run-length codes, as :class:`dico.masks.MaskSet` has them.

        Raises:
            ValueError: as :meth:`to_rle_dicts` does.
        """
        counts = [rle["counts"] for rle in self.to_rle_dicts()]
        return tuple(code.encode("ascii") if isinstance(code, str) else code for code in counts)

    def to_rle_dicts(self) -> list[dict[str, Any]]:
        """G ``{"size": [H, W], "counts": bytes}``, from polygons, run lengths or compressed codes.

        Raises:
            ValueError: when an annotation has no mask, or one of another size than its image.
        """
        return [self._rle(one) for one in self.annotations]

    def _rle(self, annotation: Mapping[str, Any]) -> dict[str, Any]:
        segmentation = annotation.get("segmentation")
        if not segmentation:
            raise ValueError(f"annotation {annotation.get('id')} of image {self.image_id} has no segmentation")
        if isinstance(segmentation, list):
            rle: dict[str, Any] = coco_rle.merge(coco_rle.frPyObjects(segmentation, *self.size_hw))
        elif isinstance(segmentation["counts"], list):
            rle = coco_rle.frPyObjects(segmentation, *segmentation["size"])
        else:
            rle = dict(segmentation)
        if tuple(rle["size"]) != self.size_hw:
            raise ValueError(
                f"annotation {annotation.get('id')} has a mask of {tuple(rle['size'])} pixels, "
                f"but its image {self.image_id} ({self.file_name}) has {self.size_hw}"
            )
        return rle


def load_annotations(path: str | Path) -> tuple[AnnotatedImage, ...]:
    """The images of a COCO annotation file, sorted by id, those without annotations too.

    Args:
        path: COCO json with ``images`` and ``annotations``.

    Returns:
        One AnnotatedImage per entry of ``images``.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
        ValueError: when it is not a COCO annotation file, an id occurs twice, or an annotation has no image.
    """
    with open(path, encoding="utf-8") as stream:
        try:
            content = json.load(stream)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ValueError(f"{path} must be a COCO annotation file with images and annotations")
    try:
        return _annotated_images(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a COCO annotation file, or is damaged ({error!r})") from error


def _annotated_images(content: Mapping[str, Any], path: str | Path) -> tuple[AnnotatedImage, ...]:
    by_image: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    if len(by_image) < len(content["images"]):
        raise ValueError(f"{path} must give every image an id of its own")
    if not by_image:
        raise ValueError(f"{path} must hold at least one image")
    for annotation in content["annotations"]:
        if annotation["image_id"] not in by_image:
            raise ValueError(f"annotation {annotation.get('id')} is of image {annotation['image_id']}, not in {path}")
        by_image[annotation["image_id"]].append(annotation)
    return tuple(
        AnnotatedImage(
            image_id=image["id"],
            file_name=file_name_of(image) if image.keys() & {"file_name", "coco_url"} else "",
            size_hw=(image["height"], image["width"]),
            # Of two equal overlaps the later wins, so the order matters: pycocotools goes category by category.
            annotations=tuple(sorted(by_image[image["id"]], key=lambda one: one.get("category_id", 0))),
        )
        for image in sorted(content["images"], key=lambda image: image["id"])
    )


def file_name_of(image: Mapping[str, Any]) -> str:
    """The path of an image of an annotation file, from the folder of the images.

    Example:
        >>> file_name_of({"coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg"})
        'train2017/000000391895.jpg'
    """
    if "file_name" in image:
        return str(image["file_name"])
    # LVIS takes images of two folders of COCO, which are named in the address.
    return "/".join(PurePosixPath(str(image["coco_url"])).parts[-2:])


def image_ids_of_paths(images: Sequence[AnnotatedImage], paths: Iterable[str]) -> dict[str, int]:
    """Which image of an annotation file each path is.

    A path belongs to the image of the same base name. When several share that name, the folders decide: one of path
    and file name must end in the other.

    Args:
        images: Images of an annotation file.
        paths: Paths of labelled images, with forward slashes.

    Returns:
        The id of each path that has one; other paths are left out.

    Raises:
        ValueError: when no path belongs to any image, or when the folders do not decide; with examples.
    """
    by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in sorted(paths):
        by_name[PurePosixPath(path).name].append(PurePosixPath(path))
    twins: dict[str, int] = defaultdict(int)
    for image in images:
        twins[PurePosixPath(image.file_name).name] += 1
    found: dict[str, int] = {}
    ambiguous = []
    for image in images:
        name = PurePosixPath(image.file_name)
        candidates = by_name.get(name.name, []) if name.name else []
        if len(candidates) > 1 or twins[name.name] > 1:
            exact = [path for path in candidates if path == name]
            candidates = exact or [path for path in candidates if _ends_in(path, name) or _ends_in(name, path)]
        if len(candidates) > 1 or any(str(path) in found for path in candidates):
            ambiguous.append(f"{image.file_name} ({', '.join(map(str, candidates[:3]))})")
        elif candidates:
            found[str(candidates[0])] = image.image_id
    if ambiguous:
        raise ValueError(
            f"{len(ambiguous)} file names of the annotations fit several labelled images, or share one, such as "
            f"{'; '.join(ambiguous[:3])}; label the annotated folder alone"
        )
    if not found:
        labelled = [str(path) for group in by_name.values() for path in group][:3]
        raise ValueError(
            f"no labelled image is among the {len(images)} that are to be evaluated: they are such as "
            f"{[image.file_name for image in images[:3]]}, the labels are of {labelled}"
        )
    return found


def _ends_in(path: PurePosixPath, tail: PurePosixPath) -> bool:
    return path.parts[-len(tail.parts) :] == tail.parts

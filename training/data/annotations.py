"""COCO's way to write a mask (polygons, run lengths, compressed run lengths), checked and read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from dico.rle import run_ends


def masks_of(annotations: Iterable[Mapping[str, Any]], size_hw: tuple[int, int], image: str) -> MaskSet:
    """The masks of the annotations of one image, in order; crowds are left out.

    Args:
        annotations: COCO annotations.
        size_hw: Height and width of the image in pixels.
        image: What messages call the image.

    Returns:
        As many masks as there are annotations that are not crowds; what lies outside of the image is cut off.

    Raises:
        ValueError: when an annotation has no mask, one that is damaged, or one of another size.
    """
    codes = []
    for annotation in annotations:
        if annotation.get("iscrowd"):
            continue
        codes.append(code_of(annotation, size_hw, image))
    return MaskSet.from_rles(size_hw, codes)


def code_of(annotation: Mapping[str, Any], size_hw: tuple[int, int], image: str) -> bytes:
    """The compressed code of the mask of one annotation; what lies outside of the image is cut off.

    Args:
        annotation: A COCO annotation.
        size_hw: Height and width of the image in pixels.
        image: What messages call the image.

    Raises:
        ValueError: when the annotation has no mask, one that is damaged, or one of another size.
    """
    if (fault := fault_of(annotation, size_hw)) is not None:
        raise ValueError(f"{image}: annotation {annotation.get('id')} {fault}; mend it or remove it")
    try:
        (code,) = AnnotatedImage(0, image, size_hw, (annotation,)).rles
        run_ends(code, size_hw)  # pycocotools takes most codes that are damaged for empty masks
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(
            f"{image}: the mask of annotation {annotation.get('id')} is damaged ({error}); mend it or remove it"
        ) from error
    return code


def fault_of(annotation: Mapping[str, Any], size_hw: tuple[int, int]) -> str | None:
    """Why an annotation has no mask in an image, in words that follow its name; None when there is no fault.

    A compressed code is not read, so that a million annotations are looked at in seconds: what is wrong with it is
    found with its image.

    Args:
        annotation: A COCO annotation.
        size_hw: Height and width of its image in pixels.

    Example:
        >>> fault_of({"segmentation": [[9, 9, 12, 9, 12, 12]]}, (8, 8))
        'lies outside of its image of 8x8 pixels'
    """
    height, width = size_hw
    segmentation = annotation.get("segmentation")
    if not segmentation:
        return "has no mask"
    if isinstance(segmentation, list):
        return _fault_of_polygons(segmentation, size_hw)
    if not isinstance(segmentation, Mapping) or not {"size", "counts"} <= segmentation.keys():
        return "has a mask that is neither polygons nor run lengths"
    if segmentation["size"] != [height, width]:
        return f"has a mask of another size (H, W), {segmentation['size']}, than its image, {[height, width]}"
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
            return f"has run lengths that do not add up to the {height * width} pixels of its image"
        return None if any(counts[1::2]) else "has an empty mask"
    return None if isinstance(counts, str) and counts else "has an empty code"


def _fault_of_polygons(polygons: list[Any], size_hw: tuple[int, int]) -> str | None:
    height, width = size_hw
    visible = False
    for polygon in polygons:
        usable = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
        if not usable or not all(isinstance(value, int | float) and abs(value) < 1e9 for value in polygon):
            return "has a polygon that is not x, y, x, y, ... of at least three points"
        xs, ys = polygon[::2], polygon[1::2]
        visible |= max(xs) > 0 and min(xs) < width and max(ys) > 0 and min(ys) < height
    return None if visible else f"lies outside of its image of {height}x{width} pixels"

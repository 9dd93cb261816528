"""A COCO-like annotation file as converters read it: images and categories at once, annotations one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training.data.json_stream import decoded, elements, read_text, sections

_SECTIONS = ("images", "annotations", "categories")


class CocoFile:
    """An annotation file of COCO, or of a data set that took over its format.

    Args:
        path: The json: an object with the arrays ``images``, ``annotations`` and ``categories``.

    Attributes:
        path: The json.
        images: Its images, as they are, by rising id.
        sizes_hw: Their heights and widths in pixels, by id.
        categories: Its categories, as they are, by id.
        names: Their names, by id.

    Raises:
        FileNotFoundError: when ``path`` does not exist.
        ValueError: when it is not such a file, is cut off, or an id occurs twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = read_text(path)
        try:
            self._at = sections(self._text, _SECTIONS)
            missing = [name for name in _SECTIONS if name not in self._at]
            if missing:
                raise ValueError(f"{path} must be an annotation file like COCO's; it has no {' and no '.join(missing)}")
            self.images = tuple(sorted(self._decoded("images"), key=lambda image: int(image["id"])))
            self.sizes_hw = {image["id"]: (int(image["height"]), int(image["width"])) for image in self.images}
            categories = self._decoded("categories")
            self.names = {one["id"]: str(one["name"]) for one in categories}
            self.categories: dict[int, Mapping[str, Any]] = {one["id"]: one for one in categories}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise self._damage(error) from error
        if len(self.sizes_hw) < len(self.images):
            raise ValueError(f"{path} must give every image an id of its own")
        if len(self.categories) < len(categories):
            raise ValueError(f"{path} must give every category an id of its own")

    def annotations(self, *, any_category: bool = False) -> Iterator[Mapping[str, Any]]:
        """Yields the annotations in the order of the file; names in them are right only where they are ASCII.

        Args:
            any_category: Whether an annotation may be of a category that is not in the file, or of none.

        Raises:
            ValueError: when the file is damaged, or an annotation is of no image or no category of the file.
        """
        try:
            for annotation, _, _ in elements(self._text, self._at["annotations"]):
                if annotation["image_id"] not in self.sizes_hw:
                    raise ValueError(
                        f"{self.path}: annotation {annotation.get('id')} is of image {annotation['image_id']}, "
                        "which is not in the file"
                    )
                if not any_category and annotation["category_id"] not in self.categories:
                    raise ValueError(
                        f"{self.path}: annotation {annotation.get('id')} has the category "
                        f"{annotation['category_id']}, which is not in the file"
                    )
                yield annotation
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise self._damage(error) from error

    def _decoded(self, section: str) -> list[Any]:
        return [decoded(self._text[start:end]) for _, start, end in elements(self._text, self._at[section])]

    def _damage(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self.path} is not an annotation file like COCO's, or is damaged ({error!r}); fetch it again"
        )


def area_of(annotation: Mapping[str, Any]) -> dict[str, float]:
    """The area of an annotation as the file has it, to be kept; empty where it has none, or one that is not positive.

    COCO's evaluation takes small, medium and large from the file's areas, which polygons give in fractions of pixels.

    Example:
        >>> area_of({"area": 30.5}), area_of({"area": 0})
        ({'area': 30.5}, {})
    """
    area = annotation.get("area")
    return {"area": area} if isinstance(area, int | float) and area > 0 else {}

"""Class-agnostic recall and precision on any annotations in COCO's format."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dico.evaluate import evaluate_masks
from dico.ground_truth import load_annotations
from dico.image import ImageError
from dico.masks import MaskSet
from training.evaluation.base import Predict
from training.evaluation.pixels import annotated_pixels
from training.evaluation.report import CocoReport
from training.records import data_set_name, images_folder

log = logging.getLogger(__name__)

T = TypeVar("T")


class CocoEvaluator:
    """Average recall and precision as COCO has them, blind to classes, at several mask budgets.

    Args:
        annotations: COCO json.
        images_root: The folder that its file names are relative to; None for ``images`` beside it, its own folder or
            the one above, whichever has the images.
        images: Only so many images, evenly spaced; 0 takes all.
        max_dets: Mask budgets: the best so many masks of each image count.
        name: What logs call it; None for what :func:`training.records.data_set_name` makes of the annotations.

    Raises:
        FileNotFoundError: when there is no such annotation file, or an image of it is missing, with its name.
        ValueError: when it is no annotation file, its first image has another size than it says, or a number is not
            positive.
    """

    def __init__(
        self,
        annotations: str | Path,
        *,
        images_root: str | Path | None = None,
        images: int = 0,
        max_dets: Sequence[int] = (100, 1000),
        name: str | None = None,
    ) -> None:
        path = Path(annotations)
        if images < 0:
            raise ValueError(f"images must be at least 0, got {images}")
        if not max_dets or min(max_dets) < 1:
            raise ValueError(f"max_dets must hold integers from 1, got {tuple(max_dets)}")
        self.name = name or data_set_name(path)
        self.images = evenly_spaced(load_annotations(path), images)
        self._max_dets = tuple(max_dets)
        names = [image.file_name for image in self.images]
        self._root = images_folder(path, names) if images_root is None else Path(images_root)
        self._require_images(path)

    def predictions(self, predict: Predict, *, rank: int = 0, world_size: int = 1) -> Iterator[tuple[int, MaskSet]]:
        """Image ids and masks. An image that cannot be read is reported and passed over: it counts as without masks.

        So does one that has another size than its annotations.

        Args:
            predict: The model.
            rank: Which share of the images, from 0 to ``world_size - 1``.
            world_size: How many shares there are.

        Yields:
            Pairs for :meth:`report`.

        Raises:
            ValueError: when there is no such share.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be within 0 and world_size - 1 = {world_size - 1}, got {rank}")
        for image in self.images[rank::world_size]:
            try:
                pixels = annotated_pixels(self._root / image.file_name, image.size_hw)
            except ValueError as error:  # ImageError is one, too
                log.warning("%s: counted as an image without masks", error)
                continue
            yield image.image_id, predict(pixels)

    def report(self, predictions: Iterable[tuple[int, MaskSet]]) -> CocoReport:
        """The figures of all images' masks; an image without a prediction counts as one without masks.

        Args:
            predictions: What :meth:`predictions` gave, of all shares, in any order.

        Raises:
            ValueError: for an unknown or a repeated image.
        """
        return CocoReport(self.name, evaluate_masks(predictions, self.images, max_dets=self._max_dets))

    def _require_images(self, annotations: Path) -> None:
        missing = [
            image for image in self.images if not image.file_name or not (self._root / image.file_name).is_file()
        ]
        if missing:
            first = missing[0]
            raise FileNotFoundError(
                f"{len(missing)} of {len(self.images)} images of {annotations} are not in {self._root}, such as"
                f" {first.file_name or f'image {first.image_id}, which has no file_name'}; name the folder that they"
                " are in"
            )
        first = self.images[0]
        try:  # of a resized copy of a data set, every image is wrong
            annotated_pixels(self._root / first.file_name, first.size_hw)
        except ImageError as error:
            log.warning("%s", error)


def evenly_spaced(images: Sequence[T], count: int) -> tuple[T, ...]:
    """So many images, at even distances, the first among them; all of them for 0, or when there are no more.

    Args:
        images: In order.
        count: At least 0.
    """
    if count == 0 or count >= len(images):
        return tuple(images)
    return tuple(images[index * len(images) // count] for index in range(count))

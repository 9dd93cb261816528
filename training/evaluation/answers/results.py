"""The masks of a COCO results file, as any tool writes them, image by image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from dico.overlaps import MaskRuns
from dico.rle import run_ends
from training.evaluation.answers.results_index import index_results

log = logging.getLogger(__name__)


class ResultsAnswers:
    """The masks of a results file of any size; in memory are 20 bytes a mask, and those of the image that is asked.

    Masks may be compressed codes, run lengths or polygons; boxes and classes are not looked at. ``level``, if an entry
    has it, is the level of its mask in a hierarchy, as in the files of ``dico export``.

    Args:
        path: A JSON array of objects with ``image_id``, ``segmentation`` and ``score``, in any order.
        images: Those of the data set; entries of others are left out.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no results file, has a damaged entry, or has entries of none of the images.
    """

    def __init__(self, path: Path, images: Sequence[AnnotatedImage]) -> None:
        self._index = index_results(path)
        known = np.array([image.image_id for image in images], dtype=np.int64)
        there = np.isin(self._index.image_E, known)
        if not there.any():
            some = np.unique(self._index.image_E)[:3].tolist()
            raise ValueError(
                f"{path} has {len(self._index)} entries, but of none of the {len(images)} images: its image ids are"
                f" such as {some}, those of the data set such as {known[:3].tolist()}"
            )
        if not there.all():
            log.warning("%s: %d entries are of images that are not evaluated; they are left out", path, (~there).sum())
        if without := len(known) - len(np.unique(self._index.image_E[there])):
            log.warning("%s: %d of %d images have no entry: nothing was found in them", path, without, len(known))

    def masks(self, image: AnnotatedImage, path: Path | None) -> MaskSet:
        """The masks of the image's entries, by falling score; none when it has no entry, as tools write it then."""
        entries = list(self._index.entries(image.image_id))
        if not entries:
            return MaskSet.empty(image.size_hw)
        # By scores in double precision, of which a MaskSet has half the digits.
        entries.sort(key=lambda entry: -entry[1]["score"])
        return MaskSet.from_rles(
            image.size_hw,
            self._codes(entries, image),
            score=[entry["score"] for _, entry in entries],
            level=[_level(entry) for _, entry in entries],
        )

    def _codes(self, entries: Sequence[tuple[int, Mapping[str, Any]]], image: AnnotatedImage) -> list[bytes]:
        codes: list[bytes] = []
        for start, entry in entries:
            try:
                codes += AnnotatedImage(image.image_id, image.file_name, image.size_hw, (entry,)).rles
            except Exception as error:  # classes of pycocotools, too
                raise self._damage(start, image, error) from error
        try:
            MaskRuns.of(codes, image.size_hw)  # all at once; one by one takes longer
        except ValueError:
            for (start, _), code in zip(entries, codes, strict=True):
                try:
                    run_ends(code, image.size_hw)
                except ValueError as error:
                    raise self._damage(start, image, error) from error
        return codes

    def _damage(self, start: int, image: AnnotatedImage, error: Exception) -> ValueError:
        return ValueError(
            f"{self._index.path}: the mask of the entry at byte {start}, of image {image.image_id}, is damaged or of"
            f" another size than its image, {image.size_hw} ({error}); mend or remove the entry"
        )


def _level(entry: Mapping[str, Any]) -> int:
    level = entry.get("level")
    return level if type(level) is int and level >= 0 else 0

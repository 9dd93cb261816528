"""The masks of a store, found by the file names of a data set's images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dico.ground_truth import AnnotatedImage, image_ids_of_paths
from dico.masks import MaskSet
from dico.store import MaskStore
from dico.store.row_reader import RowReader

_CACHE_BYTES = 64 << 20  # of each process; images are asked for in about the order that they are stored in


class StoreAnswers:
    """The masks that a store holds, complete or not.

    Args:
        store: Images are found in it by file name, see :func:`dico.ground_truth.image_ids_of_paths`.
        images: Those of the data set.

    Raises:
        ValueError: when the store has masks of none of them, or file names are ambiguous.
    """

    def __init__(self, store: MaskStore, images: Sequence[AnnotatedImage]) -> None:
        self._rows = RowReader(store, cache_bytes=_CACHE_BYTES)
        paths = [entry.path for entry in store.manifest.entries]
        place_of = {path: place for place, path in enumerate(paths)}
        labelled = set(self._rows.labelled().tolist())
        places = {image_id: place_of[path] for path, image_id in image_ids_of_paths(images, paths).items()}
        self._places = {image_id: place for image_id, place in places.items() if place in labelled}
        if not self._places:
            raise ValueError(f"{store.path} has labels of none of the {len(images)} images; go on with what makes it")

    def masks(self, image: AnnotatedImage, path: Path | None) -> MaskSet | None:
        """The stored masks; None when there are none of this image, or it has failed."""
        place = self._places.get(image.image_id)
        return None if place is None else self._rows.row(place).masks

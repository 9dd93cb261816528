"""Resizing where the image is, so that a photograph of 24 megapixels need not travel to who extracts its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dico.features.base import Extractor, PatchFeatures
from dico.image import Image, resize_image


class Presized:
    """An extractor that is handed squares; its features are the same to the last bit.

    Args:
        extractor: Resizes images to a square before all else, as transformers do, and is far away.
        side: Of that square when no size is asked for, in pixels.
    """

    def __init__(self, extractor: Extractor, side: int) -> None:
        self._extractor = extractor
        self._side = side

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """As :class:`dico.features.base.Extractor` says."""
        side = self._side if size is None else size
        squares = [resize_image(image, (side, side)) for image in images]
        found = self._extractor.extract(squares, size=side)
        return [
            replace(features, size_hw=(image.shape[0], image.shape[1]))
            for features, image in zip(found, images, strict=True)
        ]

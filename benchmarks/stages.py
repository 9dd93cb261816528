"""The pipeline stage by stage, with a clock on each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from dico.conquer import conquer
from dico.features.base import Extractor, PatchFeatures
from dico.image import Image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.selection import select

STAGES = ("extract", "divide", "conquer", "refine", "select")


class ClockedExtractor:
    """An extractor that knows how long it has worked.

    Args:
        extractor: Who does the work.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.seconds = 0.0

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """What the extractor gives."""
        start = time.perf_counter()
        features = self.extractor.extract(images, size=size)
        self.seconds += time.perf_counter() - start
        return features


def label_by_stages(labeler: PseudoLabeler, image: Image) -> tuple[MaskSet, dict[str, float]]:
    """What a labeler gives for an image, and the seconds that each of ``STAGES`` took.

    Looks at crops count for extraction, although conquer asks for them.
    """
    extractor = ClockedExtractor(labeler.extractor)
    clock = [time.perf_counter()]
    (features,) = extractor.extract([image])
    whole_image_s = extractor.seconds
    clock.append(time.perf_counter())
    coarse = labeler.divider.divide(image, features)
    clock.append(time.perf_counter())
    finer = conquer(image, features, coarse, extractor, labeler.config.conquer)
    clock.append(time.perf_counter())
    refined = labeler.refiner.refine(image, MaskSet.concat([coarse, finer]))
    clock.append(time.perf_counter())
    masks = select(refined, labeler.config.select)
    clock.append(time.perf_counter())
    seconds = dict(zip(STAGES, (after - before for before, after in pairwise(clock)), strict=True))
    seconds["conquer"] -= extractor.seconds - whole_image_s
    seconds["extract"] = extractor.seconds
    return masks, seconds

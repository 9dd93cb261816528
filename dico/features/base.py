"""What an extractor gives: features on a grid, and the region graph that merging works on.

Axes: h w cells of the feature grid, C channels, N nodes, E edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dico.image import Image


@dataclass(frozen=True)
class RegionGraph:
    """Regions of an image, who touches whom, and what each looks like: what merging works on.

    Attributes:
        labels_hw: int32 (h, w), values 0..N-1: the node of each cell of a grid that covers the image. The grid is the
            patches of a transformer, or the pixels of a (reduced) image whose nodes are superpixels.
        edges_E2: int32 (E, 2), the two nodes of each edge, smaller first, rows sorted and unique.
        feats_NC: float32 (N, C): the mean feature of each node; need not have unit norm.
        sizes_N: int64 (N,): the number of cells of each node, all positive.
        strength_E: float32 (E,) in [0, 1]: boundary evidence along each edge, or None when there is none.
        length_E: float32 (E,): the length of each shared border in cells, or None for 1 everywhere.
        more_strengths: Other boundary evidence along the same edges, float32 (E,) each in [0, 1], such as that of fine
            details only; pooled merging makes trees of each, and judges the outlines of all by ``strength_E``.
    """

    labels_hw: NDArray[np.int32]
    edges_E2: NDArray[np.int32]
    feats_NC: NDArray[np.float32]
    sizes_N: NDArray[np.int64]
    strength_E: NDArray[np.float32] | None = None
    length_E: NDArray[np.float32] | None = None
    more_strengths: tuple[NDArray[np.float32], ...] = ()


@dataclass(frozen=True)
class PatchFeatures:
    """Features of one image on a regular grid.

    Attributes:
        feats_hwC: float32 (h, w, C), unit norm along C.
        stride: Cell size in pixels of the (resized) image the extractor saw.
        size_hw: Height and width in pixels of the image that was given.
        graph: The regions that merging starts from; None means the cells of the grid with their 4-neighbours.
    """

    feats_hwC: NDArray[np.float32]
    stride: int
    size_hw: tuple[int, int]
    graph: RegionGraph | None = None


class Extractor(Protocol):
    """Turns images into features. Pure: the same image gives the same features."""

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """One PatchFeatures per image, in order; images may differ in size.

        Args:
            images: uint8 (H, W, 3) RGB each.
            size: Side of the square in pixels that images are resized to, for extractors that resize; None for the
                configured side.
        """
        ...

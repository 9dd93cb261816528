"""Masks as segmentations have them, made up quickly: unions of neighbouring regions with ragged borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.ndimage import distance_transform_edt, gaussian_filter

from dico.masks import MaskSet

WAVE_PX, DUST_PX = 3.0, 0.7
"""How far borders are bent, and how far single pixels stray."""


class RegionTree:
    """A random hierarchy of regions of a picture that nobody took.

    Args:
        rng: Decides where the regions are.
        size_hw: Of the picture in pixels.
        n_regions: The finest regions; the tree has twice as many nodes, less one.
    """

    def __init__(self, rng: np.random.Generator, size_hw: tuple[int, int], n_regions: int) -> None:
        self.size_hw = size_hw
        seeds_R2 = rng.integers(0, size_hw, (n_regions, 2))
        tree = linkage(seeds_R2, method="ward")
        place_R = np.argsort(leaves_list(tree))  # the regions of a node are in places that follow one another
        first, last = place_R.tolist(), place_R.tolist()
        for left, right in tree[:, :2].astype(int):
            first.append(min(first[left], first[right]))
            last.append(max(last[left], last[right]))
        self._nodes_N2 = np.stack([first, last], axis=1)
        seed_HW = np.full(size_hw, -1)
        seed_HW[tuple(seeds_R2.T)] = place_R
        nearest_2HW = distance_transform_edt(seed_HW < 0, return_distances=False, return_indices=True)
        self._place_HW = seed_HW[tuple(nearest_2HW)]

    def draw(self, rng: np.random.Generator, count: int) -> MaskSet:
        """Masks of ``count`` random nodes, with borders and scores drawn anew."""
        place_HW = self._bent(rng)
        chosen = rng.choice(len(self._nodes_N2), count, replace=False)
        masks = [
            MaskSet.from_arrays(((first <= place_HW) & (place_HW <= last))[None])
            for first, last in self._nodes_N2[chosen]
        ]
        return MaskSet.concat(masks).with_fields(score=rng.random(count))

    def _bent(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """int64 (H, W): the places of the regions, seen through wavy glass with a little dust on it."""
        pixels = []
        for axis, plane_HW in enumerate(np.indices(self.size_hw)):
            wave_HW = gaussian_filter(rng.normal(size=self.size_hw), 4)
            moved_HW = plane_HW + WAVE_PX * wave_HW / wave_HW.std() + rng.normal(0, DUST_PX, self.size_hw)
            pixels.append(moved_HW.round().astype(int).clip(0, self.size_hw[axis] - 1))
        bent_HW: NDArray[np.int64] = self._place_HW[tuple(pixels)]
        return bent_HW

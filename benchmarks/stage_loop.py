"""The stage after the features as published code does it: dense solvers, dense masks, loops, one CRF a mask.

Axes: N masks, H W pixels, h w patches, P = h x w patches in a row, K eigenvectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import timed
from benchmarks.stages import ClockedExtractor
from dico.config import ConquerConfig, DivideConfig, PipelineConfig, RefineConfig, SelectConfig
from dico.divide.maskcut import seed_component
from dico.features.base import Extractor, PatchFeatures
from dico.features.graph import grid_graph
from dico.image import Image, crop
from dico.masks import MaskSet
from dico.ncut import NormalisedCut, start_vector
from dico.rle import nearest_source
from tests.reference.merging import labels_by_loop, merge_by_loop
from tests.reference.ncut import dense_affinity, second_eigenvectors
from tests.reference.refine import binary_crf
from tests.reference.selection import link_parents, suppress

_STEPS_OF_ONE = 2**24


@dataclass(frozen=True, eq=False)
class DenseMask:
    """A mask with what a MaskSet knows of it."""

    mask_HW: NDArray[np.bool_]
    score: float
    level: int = 0
    theta: float = 0.0
    source: str = "divide"


def unrefined_by_loop(
    image: Image, features: PatchFeatures, extractor: Extractor, config: PipelineConfig
) -> tuple[list[DenseMask], dict[str, float]]:
    """The masks that divide and conquer find, and the seconds of each, without those of the extractor."""
    clocked = ClockedExtractor(extractor)
    coarse, divide_s = timed(lambda: divide_by_eigh(features, config.divide))
    parts, conquer_s = timed(lambda: parts_by_loop(image, coarse, clocked, config.conquer))
    return [*coarse, *parts], {"divide": divide_s, "conquer": conquer_s - clocked.seconds}


def divide_by_eigh(features: PatchFeatures, config: DivideConfig) -> list[DenseMask]:
    """MaskCut with a dense generalised solver for every cut."""
    height, width, channels = features.feats_hwC.shape
    affinity_PP = dense_affinity(features.feats_hwC.reshape(-1, channels), config.tau, config.eps)
    active_hw = np.ones((height, width), dtype=bool)
    found: list[DenseMask] = []
    for _ in range(config.max_masks):
        nodes = np.flatnonzero(active_hw)
        if len(nodes) < 2:
            break
        part_PP = affinity_PP[np.ix_(nodes, nodes)]
        value, vectors_PK = second_eigenvectors(part_PP, all_of_them=False)
        # Sign, scale and rounding as documented, which no published code fixes.
        root_P = np.sqrt(part_PP.sum(axis=1))
        x_P = vectors_PK @ ((root_P[:, None] * vectors_PK).T @ start_vector(height * width)[nodes])
        vector_P = np.zeros(height * width)
        vector_P[nodes] = np.rint(x_P / np.abs(x_P).max() * _STEPS_OF_ONE) / _STEPS_OF_ONE
        above_P = active_hw.ravel() & (vector_P > vector_P[nodes].mean())
        mask_hw = seed_component(NormalisedCut(value, vector_P, above_P), active_hw)
        score = dense_separation(affinity_PP, mask_hw.ravel())
        if score <= config.min_score:
            break
        active_hw &= ~mask_hw
        if mask_hw.mean() > config.min_area_frac:
            found.append(DenseMask(enlarged(mask_hw, features.size_hw), score))
    return found


def dense_separation(affinity_PP: NDArray[np.float64], mask_P: NDArray[np.bool_]) -> float:
    """1 - Ncut(mask, rest), without the affinity of nodes to themselves."""
    if mask_P.all() or not mask_P.any():
        return 0.0
    cut = affinity_PP[np.ix_(mask_P, ~mask_P)].sum()
    inside = affinity_PP[np.ix_(mask_P, mask_P)].sum() - mask_P.sum()
    outside = affinity_PP[np.ix_(~mask_P, ~mask_P)].sum() - (~mask_P).sum()
    return float(max(0.0, 1 - cut / (cut + inside) - cut / (cut + outside)))


def parts_by_loop(
    image: Image, coarse: Sequence[DenseMask], extractor: Extractor, config: ConquerConfig
) -> list[DenseMask]:
    """The parts of each coarse mask: the loop merges, each threshold's regions are made dense and compared in pairs."""
    parts = []
    for whole in coarse:
        rows, columns = (np.flatnonzero(whole.mask_HW.any(axis=axis)) for axis in (1, 0))
        box_xyxy = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        (look,) = extractor.extract([crop(image, box_xyxy)], size=config.crop_size)
        regions = [
            region
            for region in regions_by_loop(look, config, box_xyxy, whole.mask_HW.shape)
            if (region.mask_HW & whole.mask_HW).sum() >= config.min_inside * region.mask_HW.sum() > 0
        ]
        kept = suppress([region.mask_HW for region in regions], [region.score for region in regions], config.max_iou)
        parts += [regions[k] for k in kept]
    return parts


def regions_by_loop(
    look: PatchFeatures, config: ConquerConfig, box_xyxy: Sequence[int], size_hw: tuple[int, ...]
) -> list[DenseMask]:
    """The regions that stand at the thresholds, each once, coarse before fine."""
    graph = grid_graph(look.feats_hwC)
    merges = merge_by_loop(graph, config.linkage)
    span = lifetimes(len(graph.sizes_N), merges)
    x0, y0, x1, y1 = box_xyxy
    by_level: list[list[DenseMask]] = []
    seen = set()
    for rank, theta in enumerate(config.thetas):
        labels_hw = labels_by_loop(len(graph.sizes_N), merges, theta)[graph.labels_hw]
        by_level.append([])
        for cluster in range(labels_hw.max() + 1):
            region_hw = labels_hw == cluster
            name = (int(np.argmax(region_hw)), int(region_hw.sum()))  # clusters nest, so its first patch and its size
            if name[1] >= config.min_patches and name not in seen:
                seen.add(name)
                mask_HW = np.zeros(size_hw, dtype=bool)
                mask_HW[y0:y1, x0:x1] = enlarged(region_hw, (y1 - y0, x1 - x0))
                level = len(config.thetas) - rank
                by_level[-1].append(DenseMask(mask_HW, span[name], level, theta, "conquer"))
    return [region for level in reversed(by_level) for region in level]


def lifetimes(num_nodes: int, merges: Sequence[tuple[tuple[int, int], np.float32]]) -> dict[tuple[int, int], float]:
    """The span of thresholds at which each cluster stands, by its smallest node and its size."""
    size, born = dict.fromkeys(range(num_nodes), 1), dict.fromkeys(range(num_nodes), 1.0)
    span, height = {}, 1.0
    for (a, b), similarity in merges:
        height = max(0.0, min(height, float(similarity)))
        for cluster in (a, b):
            span[cluster, size[cluster]] = born[cluster] - height
        size[a], born[a] = size[a] + size.pop(b), height
    return span | {(cluster, size[cluster]): born[cluster] for cluster in size}


def refine_by_loop(image: Image, masks: Sequence[DenseMask], config: RefineConfig) -> list[DenseMask]:
    """One binary CRF on all of the image for each mask, and the keep rule."""
    kept = []
    for before in masks:
        after_HW = binary_crf(image, before.mask_HW, config)
        overlap, union = (before.mask_HW & after_HW).sum(), (before.mask_HW | after_HW).sum()
        if after_HW.any() and after_HW.mean() <= config.max_area_frac and overlap >= config.min_iou * union:
            kept.append(replace(before, mask_HW=after_HW))
    return kept


def select_by_loop(masks: Sequence[DenseMask], config: SelectConfig, size_hw: tuple[int, int]) -> MaskSet:
    """All pairs of masks compared, pixel by pixel."""
    masks = [one for one in masks if one.mask_HW.sum() >= config.min_area_px]
    kept = suppress([one.mask_HW for one in masks], [np.float32(one.score) for one in masks], config.max_iou)
    best = sorted((masks[k] for k in kept), key=lambda one: -np.float32(one.score))[: config.max_masks]
    if not best:
        return MaskSet.empty(size_hw)
    parents = link_parents([one.mask_HW for one in best], config.min_inside_parent)
    return mask_set(best, size_hw).with_fields(parent=parents)


def mask_set(masks: Sequence[DenseMask], size_hw: tuple[int, int]) -> MaskSet:
    """Dense masks as a MaskSet, without parents."""
    return MaskSet.from_arrays(
        np.array([one.mask_HW for one in masks], dtype=bool).reshape(-1, *size_hw),
        score=[one.score for one in masks],
        level=[one.level for one in masks],
        theta=[one.theta for one in masks],
        source=[one.source for one in masks],
    )


def enlarged(mask_hw: NDArray[np.bool_], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at another size, by the nearest patch."""
    rows, columns = (nearest_source(n, to) for n, to in zip(mask_hw.shape, size_hw, strict=True))
    return mask_hw[np.ix_(rows, columns)]

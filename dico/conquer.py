"""Conquer: parts and background regions by merging similar neighbours, at several thresholds.

Axes: N masks, K chosen nodes of a merge tree.

Deviations from the published code: crops hold the whole half-open box, where it loses the last row and column; a level
at which everything has merged gives one mask, where it gives none; every pair of an object's parts is compared, where
it looks at five neighbours by area; a region that several thresholds show is one mask, where it is as many.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dico.config import ConquerConfig
from dico.features.base import Extractor, PatchFeatures, RegionGraph
from dico.features.graph import grid_graph
from dico.image import Image, crop
from dico.masks import MaskSet
from dico.merge_tree import MergeTree
from dico.merging import merge_regions
from dico.pooling import Pool, pool_of_tree, priors, rank_regions
from dico.rasterise import rles_of_nodes
from dico.selection import suppress
from dico.window import Box

_CROPS_AT_ONCE = 16  # bounds the memory of their features
_DOUBLINGS = 10  # of the number of regions, from theta 0 to 1: an image in 1024 regions is as fine as any


def conquer(
    image: Image, features: PatchFeatures, coarse: MaskSet, extractor: Extractor, config: ConquerConfig
) -> MaskSet:
    """The parts of each coarse mask, and the regions of the whole image.

    Args:
        image: uint8 (H, W, 3) RGB.
        features: Features of that image; merging over the whole image starts from their graph.
        coarse: Whole objects; their levels are 0.
        extractor: Looks at the crops.
        config: Thresholds and limits.

    Returns:
        Masks of the image's size: the parts of the first coarse mask, of the second ..., the regions of the image;
        within each, coarse before fine. ``theta`` is the largest threshold at which a region stands and ``level`` its
        place among the thresholds, 1 for the smallest; ``parent`` is the smallest region of the same merging around it,
        or -1; ``score`` is the span of thresholds over which it stands; ``source`` is "conquer" for parts and "image"
        for regions of the image. Pooled regions of the image are as :func:`pooled_regions` describes them.

    Raises:
        ValueError: when ``coarse`` is not of the image's size.
    """
    size_hw = (image.shape[0], image.shape[1])
    if coarse.size_hw != size_hw:
        raise ValueError(f"coarse must have masks of the image's size {size_hw}, got {coarse.size_hw}")
    found = [MaskSet.empty(size_hw)]
    if config.parts:
        wholes = coarse[coarse.area_px > 0]
        boxes = [_whole_box(box_xyxy) for box_xyxy in wholes.boxes_xyxy]
        for start in range(0, len(boxes), _CROPS_AT_ONCE):
            batch = boxes[start : start + _CROPS_AT_ONCE]
            looks = extractor.extract([crop(image, box_xyxy) for box_xyxy in batch], size=config.crop_size)
            for i, (look, box_xyxy) in enumerate(zip(looks, batch, strict=True), start):
                found.append(_parts_of(wholes[[i]], look, box_xyxy, config))
    if config.whole_image == "thresholds":
        found.append(regions(_graph_of(features), config, size_hw, source="image"))
    elif config.whole_image == "pool":
        found.append(pooled_regions(_graph_of(features), config, size_hw, source="image"))
    return MaskSet.concat(found)


def regions(
    graph: RegionGraph, config: ConquerConfig, size_hw: tuple[int, int], *, box_xyxy: Box | None = None, source: str
) -> MaskSet:
    """The regions that stand at the thresholds when a graph is merged, as masks.

    Args:
        graph: Regions to start from.
        config: Thresholds, linkage and least size.
        size_hw: Height and width of the image in pixels.
        box_xyxy: The half-open box of the image that the graph covers; None for all of it.
        source: Name of the stage, for the masks.

    Returns:
        One mask a region, as :func:`conquer` describes them; coarse before fine.
    """
    tree = merge_regions(graph, config.linkage)
    nodes_K, rank_K = standing_nodes(tree, config)
    return MaskSet.from_rles(
        size_hw,
        rles_of_nodes(graph.labels_hw, *tree.members(nodes_K), size_hw, box_xyxy=box_xyxy),
        score=tree.persistence(nodes_K),
        level=len(config.thetas) - rank_K,
        theta=np.asarray(config.thetas, dtype=np.float32)[rank_K],
        parent=tree.nearest_ancestor(nodes_K),
        source=source,
    )


def pooled_regions(graph: RegionGraph, config: ConquerConfig, size_hw: tuple[int, int], *, source: str) -> MaskSet:
    """The regions of several merge trees of a graph, the best representatives first.

    Args:
        graph: Regions to start from, of the whole image.
        config: Only ``pool`` counts.
        size_hw: Height and width of the image in pixels.
        source: Name of the stage, for the masks.

    Returns:
        At most ``config.pool.max_regions`` masks by falling score, which is what each adds to the agreement of a tree's
        regions on average. ``theta`` says how many regions its tree had when it came to be: 0 is one, and each 0.1 more
        is twice as many, up to 1; ``level`` counts these doublings, from 1 to 10. No parents, as regions of several
        trees cross.
    """
    views = [graph, *(replace(graph, strength_E=strength_E) for strength_E in graph.more_strengths)]
    trees = [merge_regions(view, linkage) for view in views for linkage in config.pool.linkages]
    pool = Pool.concat([pool_of_tree(tree, config.pool) for tree in trees])
    chosen, added = rank_regions(pool, graph, priors(pool, graph, config.pool), config.pool)
    best = pool.take(chosen)
    doublings_K = np.minimum(np.log2(best.alive_K), _DOUBLINGS)
    return MaskSet.from_rles(
        size_hw,
        rles_of_nodes(graph.labels_hw, best.indptr, best.leaves, size_hw),
        score=added / len(trees),
        level=np.maximum(1, np.floor(doublings_K)),  # 0 is for whole objects
        theta=doublings_K / _DOUBLINGS,
        source=source,
    )


def standing_nodes(tree: MergeTree, config: ConquerConfig) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The nodes of a merge tree that stand at a threshold and are large enough.

    Args:
        tree: The merges.
        config: Thresholds and least size.

    Returns:
        int64 (K,) nodes, and int64 (K,) the first (largest) of the falling thresholds at which each stands; coarse
        before fine, then by smallest leaf.
    """
    rank_T = np.full(len(tree.parent_T), len(config.thetas))
    ordered: list[NDArray[np.int64]] = []
    for rank, theta in enumerate(config.thetas):
        alive = tree.alive(tree.merges_until(theta))
        new = alive[(rank_T[alive] == len(config.thetas)) & (tree.sizes_T[alive] >= config.min_patches)]
        rank_T[new] = rank
        ordered.insert(0, new)
    nodes_K = np.concatenate([np.zeros(0, dtype=np.int64), *ordered])
    return nodes_K, rank_T[nodes_K]


def _parts_of(whole: MaskSet, look: PatchFeatures, box_xyxy: Box, config: ConquerConfig) -> MaskSet:
    parts = regions(_graph_of(look), config, whole.size_hw, box_xyxy=box_xyxy, source="conquer")
    parts = parts[parts.containment(whole)[:, 0] >= config.min_inside]
    return suppress(parts, config.max_iou)


def _graph_of(features: PatchFeatures) -> RegionGraph:
    return grid_graph(features.feats_hwC) if features.graph is None else features.graph


def _whole_box(box_xyxy: NDArray[np.float32]) -> Box:
    x0, y0, x1, y1 = (int(side) for side in box_xyxy)
    return x0, y0, x1, y1

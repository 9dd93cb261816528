"""Conquer with dense masks, one threshold after the other."""

import numpy as np

from tests.reference.merging import labels_by_loop, merge_by_loop
from tests.reference.resize import resize_nearest


def regions_by_loop(graph, config, size_hw, box_xyxy=None):
    """{mask as bytes: (theta, level)} of the regions that stand at the thresholds, at the image's size."""
    x0, y0, x1, y1 = box_xyxy or (0, 0, size_hw[1], size_hw[0])
    merges = merge_by_loop(graph, config.linkage)
    found = {}
    for theta in sorted(config.thetas, reverse=True):
        cluster_N = labels_by_loop(len(graph.sizes_N), merges, theta)
        for cluster in range(cluster_N.max() + 1):
            if graph.sizes_N[cluster_N == cluster].sum() >= config.min_patches:
                mask_HW = np.zeros(size_hw, dtype=bool)
                mask_HW[y0:y1, x0:x1] = resize_nearest((cluster_N == cluster)[graph.labels_hw], (y1 - y0, x1 - x0))
                level = sorted(config.thetas).index(theta) + 1
                found.setdefault(mask_HW.tobytes(), (theta, level))
    return found

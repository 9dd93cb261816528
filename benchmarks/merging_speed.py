"""Iterative merging of 60x60 patches beside the loop, on one core; the label maps of all thresholds must be equal.

python -m benchmarks.merging_speed [--side 60] [--channels 768]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import best_time, figure, one_core, print_figures, timed
from dico.config import ConquerConfig
from dico.features.base import RegionGraph
from dico.features.graph import grid_graph
from dico.merging import merge_regions
from tests.reference.features import blob_features
from tests.reference.merging import labels_by_loop, merge_by_loop

THETAS = ConquerConfig().thetas


def label_maps(graph: RegionGraph) -> list[NDArray[np.int32]]:
    """The regions at each threshold."""
    tree = merge_regions(graph, stop=THETAS[-1])
    return [tree.labels(tree.merges_until(theta)) for theta in THETAS]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=60)
    parser.add_argument("--channels", type=int, default=768)
    arguments = parser.parse_args(argv)
    size_hw = (arguments.side, arguments.side)
    inputs = {
        "smooth": blob_features(size_hw, arguments.channels),
        "smooth and noisy": blob_features(size_hw, arguments.channels, noise=1.0, seed=1),
        "very noisy": blob_features(size_hw, arguments.channels, noise=2.0, seed=2),
        "tied": np.round(blob_features(size_hw, 8, noise=0.0, seed=3)),
    }
    times = []
    for name, feats_hwC in inputs.items():
        graph = grid_graph(feats_hwC)
        label_maps(graph)  # compiles
        labels, ours_s = best_time(lambda g=graph: label_maps(g), 10)
        merges, theirs_s = timed(lambda g=graph: merge_by_loop(g, stop=THETAS[-1]))  # without its label maps
        for theta, labels_N in zip(THETAS, labels, strict=True):
            if not np.array_equal(labels_N, labels_by_loop(len(labels_N), merges, theta)):
                raise RuntimeError(f"the label maps differ on {name} features at theta {theta}")
        print(
            f"{name}: {len(merges)} merges, {[int(labels_N.max()) + 1 for labels_N in labels]} regions; "
            f"{1e3 * ours_s:.1f} ms, loop {theirs_s:.2f} s; {theirs_s / ours_s:.0f} times"
        )
        times.append((ours_s, theirs_s))
    print_figures([figure(f"merging {arguments.side}x{arguments.side}", *times[0], "s")])
    return 0


if __name__ == "__main__":
    with one_core():
        sys.exit(main())

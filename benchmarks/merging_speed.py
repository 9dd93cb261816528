"""Iterative merging of 60x60 patches beside the loop, on one core; the label maps of all thresholds must be equal.

python benchmarks/merging_speed.py [--side 60] [--channels 768]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from dico.config import ConquerConfig
from dico.features.graph import grid_graph
from dico.merging import merge_regions

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.reference.features import blob_features
from tests.reference.merging import labels_by_loop, merge_by_loop

THETAS = ConquerConfig().thetas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=60)
    parser.add_argument("--channels", type=int, default=768)
    arguments = parser.parse_args()
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
        tree = merge_regions(graph, stop=THETAS[-1])  # compiles
        ours_s = np.inf
        for _ in range(10):
            start = time.perf_counter()
            tree = merge_regions(graph, stop=THETAS[-1])
            labels = [tree.labels(tree.merges_until(theta)) for theta in THETAS]
            ours_s = min(ours_s, time.perf_counter() - start)
        start = time.perf_counter()
        merges = merge_by_loop(graph, stop=THETAS[-1])
        theirs_s = time.perf_counter() - start  # without its label maps, which the loop leaves for last
        for theta, labels_N in zip(THETAS, labels, strict=True):
            if not np.array_equal(labels_N, labels_by_loop(len(labels_N), merges, theta)):
                raise RuntimeError(f"the label maps differ on {name} features at theta {theta}")
        print(
            f"{name}: {len(merges)} merges, {[int(labels_N.max()) + 1 for labels_N in labels]} regions; "
            f"{1e3 * ours_s:.1f} ms, loop {theirs_s:.2f} s; {theirs_s / ours_s:.0f} times"
        )
        times.append((ours_s, theirs_s))
    value, reference = times[0]
    title = f"merging {arguments.side}x{arguments.side}"
    print(json.dumps({"name": title, "value": value, "reference": reference, "ratio": reference / value, "unit": "s"}))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()

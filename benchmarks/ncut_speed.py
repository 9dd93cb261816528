"""One normalised cut of 60x60 patches beside a dense generalised eigen solver, on one core; the sides must be equal.

python -m benchmarks.ncut_speed [--side 60] [--channels 768]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.measure import best_time, figure, one_core, print_figures
from dico.affinity import binary_affinity
from dico.config import DivideConfig
from dico.ncut import normalised_cut
from tests.reference.features import blob_features
from tests.reference.ncut import cut_of, dense_affinity, second_eigenvectors

TAU, EPS = DivideConfig().tau, DivideConfig().eps


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=60)
    parser.add_argument("--channels", type=int, default=768)
    arguments = parser.parse_args(argv)
    size_hw = (arguments.side, arguments.side)
    inputs = {
        "smooth": blob_features(size_hw, arguments.channels),
        "smooth and noisy": blob_features(size_hw, arguments.channels, noise=1.0, seed=1),
        "random": blob_features(size_hw, 24, noise=1e3, seed=2),
    }
    ours, theirs = [], []
    for name, feats_hwC in inputs.items():
        feats_NC = feats_hwC.reshape(-1, feats_hwC.shape[2])
        affinity, build_s = best_time(lambda f=feats_NC: binary_affinity(f, tau=TAU, eps=EPS), 5)
        normalised_cut(affinity)  # compiles
        cut, cut_s = best_time(lambda a=affinity: normalised_cut(a), 5)
        dense_NN, dense_build_s = best_time(lambda f=feats_NC: dense_affinity(f, TAU, EPS), 1)
        solution, eigh_s = best_time(lambda d=dense_NN: second_eigenvectors(d, all_of_them=False), 1)
        if not np.array_equal(cut.above_N, cut_of(dense_NN, solution[1])[1]):
            raise RuntimeError(f"the sides of the cut differ on {name} features")
        print(
            f"{name}: lambda {cut.eigenvalue:.4f}; affinity {1e3 * build_s:.1f} ms, cut {1e3 * cut_s:.1f} ms; dense: "
            f"affinity {1e3 * dense_build_s:.0f} ms, eigh {1e3 * eigh_s:.0f} ms; {eigh_s / cut_s:.0f} times, "
            f"with the affinity {(eigh_s + dense_build_s) / (cut_s + build_s):.0f} times"
        )
        ours.append((cut_s, cut_s + build_s))
        theirs.append((eigh_s, eigh_s + dense_build_s))
    results = []
    for i, part in enumerate(("eigenvector and sides", "from features")):
        results.append(figure(f"ncut {arguments.side}x{arguments.side}, {part}", ours[0][i], theirs[0][i], "s"))
    print_figures(results)
    return 0


if __name__ == "__main__":
    with one_core():
        sys.exit(main())

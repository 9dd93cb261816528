"""Matching and losses of a whole-image model beside transformers' Mask2FormerLoss, at equal points on one core.

Each side runs in a process of its own, as peak memory is measured too, and starts from the same mask embeddings and
features. "losses" are matching and losses alone; transformers' get masks that are multiplied out already. "step" is
what a step of training pays for: transformers' multiplies out all masks and sends gradients back through them. Losses
of all layers and gradients must be equal. The default needs 8 GB of memory.

Example:
    python -m benchmarks.criterion_speed
    python -m benchmarks.criterion_speed --cases 100x20x10 --size 512
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import figure, print_figures

REPOSITORY = Path(__file__).resolve().parent.parent
RUNS = {"ours": 3, "published": 2}

MEASURE = """
import json, sys
import torch
from benchmarks.measure import best_time, one_core, with_peak
from tests.reference.dense import dense_masks
from tests.training.drawn_targets import boxes, leaves, predictions
from tests.training.mask2former_loss import published_losses
from training.config import LossConfig
from training.models.criterion import Criterion
from training.models.points import draw_points
from training.samples import Targets

side, (queries, masks, layers), size, points, runs = sys.argv[1], *map(json.loads, sys.argv[2:])
config = LossConfig(points=points)

def side_of(queries, masks, layers, size):
    output = predictions(layers=layers, images=1, queries=queries, size_hw=(size // 4, size // 4), channels=256)
    masks_NHW = boxes(masks, (size, size))
    points = [draw_points(config, torch.Generator().manual_seed(0))]
    if side == "ours":
        targets, criterion = [Targets(masks_NHW)], Criterion(config)
        def losses(given):
            found = criterion.at_points(given, targets, points)
            return torch.stack((found.class_L, found.mask_L, found.dice_L))
        return output, lambda: output, losses
    targets = [masks_NHW.float()]
    def losses(given):
        return torch.stack(published_losses(output, given, targets, points, config))
    return output, lambda: dense_masks(output), losses

def step():
    terms = losses(prepare())
    gradients = torch.autograd.grad((terms.sum(dim=1) * torch.tensor([2.0, 5.0, 5.0])).sum(), leaves(output))
    return terms.tolist(), [gradient.norm().item() for gradient in gradients]

with one_core():
    output, prepare, losses = side_of(4, 2, 2, 64)  # what the first use costs is paid here
    step()
    output, prepare, losses = side_of(queries, masks, layers, size)
    ((terms, gradients), step_s), used_gb = with_peak(lambda: best_time(step, runs))
    with torch.no_grad():
        given = prepare()
        losses_s = best_time(lambda: losses(given), runs)[1]
print(json.dumps({"terms": terms, "gradients": gradients, "losses": losses_s, "step": step_s, "memory": used_gb}))
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["300x100x10", "2000x200x3"], metavar="QxNxL",
                        help="queries, masks and layers (300x100x10 2000x200x3)")  # fmt: skip
    parser.add_argument("--size", type=int, default=1024, help="of the image in pixels (1024)")
    parser.add_argument("--points", type=int, default=12_544, help="at which masks are compared (12544)")
    arguments = parser.parse_args(argv)
    rows = []
    for case in arguments.cases:
        queries, masks, layers = map(int, case.split("x"))
        sizes = (json.dumps((queries, masks, layers)), str(arguments.size), str(arguments.points))
        ours, published = (run(side, *sizes, str(RUNS[side])) for side in ("ours", "published"))
        require_equal(ours, published)
        for name, unit in (("losses", "s"), ("step", "s"), ("memory", "GB")):
            title = f"criterion, {queries} queries, {masks} masks, {layers} layers: {name}"
            rows.append(figure(title, ours[name], published[name], unit))
            print(f"{title} {ours[name]:.2f} {unit}, published {published[name]:.2f} {unit}", flush=True)
    print_figures(rows)
    return 0


def run(side: str, *arguments: str) -> dict[str, Any]:
    """What one side took, and its losses and gradients."""
    command = [sys.executable, "-c", MEASURE, side, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def require_equal(ours: dict[str, Any], published: dict[str, Any]) -> None:
    """Stops the benchmark when both sides do not find the same."""
    for kind in ("terms", "gradients"):
        pairs = zip(_flat(ours[kind]), _flat(published[kind]), strict=True)
        wrong = [pair for pair in pairs if not math.isclose(*pair, rel_tol=1e-4, abs_tol=1e-5)]
        if wrong:
            raise RuntimeError(f"{kind} differ: ours and published are {wrong}")


def _flat(values: list[Any]) -> list[float]:
    return [number for value in values for number in (_flat(value) if isinstance(value, list) else [value])]


if __name__ == "__main__":
    sys.exit(main())

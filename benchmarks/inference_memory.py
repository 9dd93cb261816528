"""Memory and time of what follows the network in whole-image inference: ours, and the published way.

The published way resizes the masks of all queries to the photograph as floats and chooses afterwards (Mask2Former's
inference): more than this machine may have, so it is measured at two smaller numbers of queries, of which half are
chosen, and the line through them is followed to the asked number. Both get the same drawn predictions and must give the
same masks; ours are run-length codes then, and those of the published way are not encoded yet. Peaks are those of the
resident memory of processes of their own, above what they had before. The network itself is measured, too: it has
random weights, on which neither its time nor its memory depends.

Example:
    python -m benchmarks.inference_memory
    python -m benchmarks.inference_memory --size 600x900 --queries 300 --backbone tiny
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import figure, one_core, print_figures, timed, with_peak

if TYPE_CHECKING:
    from torch import Tensor

    from dico.masks import MaskSet
    from training.config import InferenceConfig
    from training.postprocess.frame import Frame
    from training.samples import FactoredOutput

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_GB = 1.0
"""What the project promises, beside the network."""
PUBLISHED_AT = (50, 100)
"""Queries that the published way is measured at."""
SAME = 1 - 1e-5
"""Least share of pixels that are equal: rounding decides about those on borders."""
CHANNELS = 256
BIAS = -1.0
"""Of the drawn logits, whose deviation is about two thirds: most of an image is not in a mask."""


@dataclass(frozen=True)
class Case:
    """What is measured."""

    size_hw: tuple[int, int]
    queries: int
    backbone: str
    short_side: int


SMALL = Case((40, 60), 4, "tiny", 64)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1500x2250", help="height x width of the photograph in pixels (1500x2250)")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--backbone", choices=["resnet50", "swin_t", "tiny"], default="resnet50")
    parser.add_argument("--short-side", type=int, default=1024, help="of what the network sees, in pixels (1024)")
    parser.add_argument("--measure", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    height, width = map(int, arguments.size.split("x"))
    if arguments.measure:
        import torch

        measure = MEASURES[arguments.measure]
        with one_core():
            torch.set_num_threads(1)
            print(
                json.dumps(measure(Case((height, width), arguments.queries, arguments.backbone, arguments.short_side)))
            )
        return 0

    def measured(name: str, queries: int) -> dict[str, float]:
        given = ["--size", arguments.size, "--queries", str(queries), "--backbone", arguments.backbone]
        program = [sys.executable, "-m", "benchmarks.inference_memory", "--measure", name]
        command = [*program, *given, "--short-side", str(arguments.short_side)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=REPOSITORY)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    few, more = (measured("published", queries) for queries in PUBLISHED_AT)
    published = {name: along(PUBLISHED_AT, (few[name], more[name]), arguments.queries) for name in ("gb", "seconds")}
    ours, network = measured("ours", arguments.queries), measured("network", arguments.queries)
    case = f"{arguments.queries} queries, {arguments.size}"
    print(
        f"{case}, beside the network: {ours['gb']:.2f} GB and {ours['seconds']:.1f} s for {ours['masks']:.0f} masks,"
        f" each of {ours['share']:.1%} of the image\n"
        f"published way, measured at {PUBLISHED_AT[1]} queries: {more['gb']:.2f} GB and {more['seconds']:.1f} s; at"
        f" {arguments.queries}, by extrapolation: {published['gb']:.1f} GB and {published['seconds']:.0f} s\n"
        f"the network ({arguments.backbone}): {network['gb']:.2f} GB and {network['seconds']:.1f} s"
    )
    print_figures(
        [
            figure(f"inference, {case}: memory beside the network", ours["gb"], published["gb"], "GB"),
            figure(f"inference, {case}: time after the network", ours["seconds"], published["seconds"], "s"),
            figure(f"inference, {case}: time of the network", network["seconds"], None, "s"),
        ]
    )
    if ours["gb"] > MOST_GB:
        raise RuntimeError(f"{case}: {ours['gb']:.2f} GB beside the network, more than {MOST_GB}")
    return 0


def along(at: tuple[int, int], values: tuple[float, float], asked: int) -> float:
    """Where the line through two measurements is at another number of queries.

    Example:
        >>> along((50, 100), (1.0, 2.0), 2000)
        40.0
    """
    slope = (values[1] - values[0]) / (at[1] - at[0])
    return values[1] + slope * (asked - at[1])


def measure_ours(case: Case) -> dict[str, float]:
    """What follows the network, for the better half of the queries."""
    output, frame = drawn(case)
    ours(*drawn(SMALL))  # compiled code is paid for by the first image
    (masks, seconds), gb = with_peak(lambda: timed(lambda: ours(output, frame)))
    share = float(masks.area_px.mean() / (case.size_hw[0] * case.size_hw[1]))
    return {"gb": gb, "seconds": seconds, "masks": len(masks), "share": share}


def measure_published(case: Case) -> dict[str, float]:
    """The published way, and whether ours gives the same."""
    output, frame = drawn(case)
    published(*drawn(SMALL))
    ((inside_NHW, score_N), seconds), gb = with_peak(lambda: timed(lambda: published(output, frame)))
    require_same(ours(output, frame), inside_NHW, score_N)
    return {"gb": gb, "seconds": seconds}


def measure_network(case: Case) -> dict[str, float]:
    """The network, from the photograph to its predictions."""
    import numpy as np

    from training.config import ModelConfig
    from training.models.whole_image import WholeImageModel
    from training.predictor import Predictor

    model = WholeImageModel(ModelConfig(backbone=case.backbone, queries=case.queries))
    predictor = Predictor(model, inference(case.short_side))
    photograph = np.random.default_rng(0).integers(0, 255, (*case.size_hw, 3), dtype=np.uint8)
    (_, seconds), gb = with_peak(lambda: timed(lambda: predictor.output(photograph)))
    return {"gb": gb, "seconds": seconds}


MEASURES: dict[str, Callable[[Case], dict[str, float]]] = {
    "ours": measure_ours,
    "published": measure_published,
    "network": measure_network,
}


def inference(short_side: int, *, max_masks: int = 1000) -> InferenceConfig:
    """The usual settings at another size."""
    from training.config import InferenceConfig

    return InferenceConfig(short_side=short_side, long_side=2 * short_side, max_masks=max_masks)


def drawn(case: Case) -> tuple[FactoredOutput, Frame]:
    """Smooth masks of many shapes, as if a network had predicted them."""
    import torch

    from training.postprocess.frame import Frame
    from training.predictor import network_size
    from training.samples import FactoredOutput

    unpadded_hw = network_size(case.size_hw, inference(case.short_side))
    padded_hw = (-(-unpadded_hw[0] // 32) * 32, -(-unpadded_hw[1] // 32) * 32)
    rng = torch.Generator().manual_seed(0)
    coarse_BChw = torch.randn(1, CHANNELS, padded_hw[0] // 32, padded_hw[1] // 32, generator=rng)
    cells_hw = (padded_hw[0] // 4, padded_hw[1] // 4)
    features_BChw = torch.nn.functional.interpolate(coarse_BChw, size=cells_hw, mode="bilinear")
    features_BChw[:, 0] = 1.0
    embeddings_LBQC = torch.randn(1, 1, case.queries, CHANNELS, generator=rng) / CHANNELS**0.5
    embeddings_LBQC[..., 0] = BIAS
    output = FactoredOutput(torch.randn(1, 1, case.queries, 2, generator=rng), embeddings_LBQC, features_BChw)
    return output, Frame(padded_hw, unpadded_hw, case.size_hw)


def ours(output: FactoredOutput, frame: Frame) -> MaskSet:
    """The better half of the queries, traced."""
    from training.postprocess.masks import masks_of_output

    return masks_of_output(output, frame, inference(1024, max_masks=output.class_logits_LBQ2.shape[2] // 2))


def published(output: FactoredOutput, frame: Frame) -> tuple[Tensor, Tensor]:
    """All masks to the padded image, to the photograph, and only then the better half of them; with their scores."""
    from torch.nn import functional

    from tests.reference.dense import dense_masks

    (masks_BQhw,) = dense_masks(output)
    logits_1QHW = functional.interpolate(masks_BQhw, size=frame.padded_hw, mode="bilinear")
    logits_1QHW = logits_1QHW[:, :, : frame.unpadded_hw[0], : frame.unpadded_hw[1]]
    logits_QHW = functional.interpolate(logits_1QHW, size=frame.original_hw, mode="bilinear")[0]
    del logits_1QHW
    best = output.class_logits_LBQ2[-1, 0].softmax(dim=-1)[:, 0].topk(len(logits_QHW) // 2)
    logits_NHW = logits_QHW[best.indices]
    inside_NHW = (logits_NHW > 0).float()
    mean_N = (logits_NHW.sigmoid() * inside_NHW).flatten(1).sum(1) / (inside_NHW.flatten(1).sum(1) + 1e-6)
    return inside_NHW, best.values * mean_N


def require_same(mine: MaskSet, inside_NHW: Tensor, score_N: Tensor) -> None:
    """Raises RuntimeError when masks or scores differ by more than rounding."""
    import numpy as np

    order_N = [n for n in score_N.argsort(descending=True).tolist() if score_N[n] > 0]
    if len(mine) != len(order_N) or not np.allclose(mine.score, score_N[order_N].numpy(), rtol=1e-4):
        raise RuntimeError(f"masks differ: {len(mine)} of ours, {len(order_N)} of the published way")
    for mine_HW, n in zip(mine.iter_decoded(), order_N, strict=True):
        if (equal := float((mine_HW == inside_NHW[n].numpy()).mean())) < SAME:
            raise RuntimeError(f"masks differ: only {equal:.6%} of the pixels are equal")


if __name__ == "__main__":
    sys.exit(main())

"""The whole-image model beside transformers' Mask2Former, of the same weights, on the same image and on one core.

"inference" gives the masks of all queries, multiplied out on both sides. "memory" is what it adds to the peak of a
process of its own that has the network already. "training step" is forward, losses of all layers and backward, each
side's own; ours never multiplies the masks out. Norms are frozen on both sides. Predictions must be equal, and losses
nearly so, as each side draws its own points. Both sides take turns, and the best run of each counts.

Example:
    python -m benchmarks.model_speed
    python -m benchmarks.model_speed --backbone swin_t --size 320x480 --cases 100x20
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import figure, one_core, print_figures, timed
from tests.reference.dense import dense_masks
from training.config import LossConfig, ModelConfig
from training.models.checkpoints import save_hugging_face
from training.models.criterion import Criterion
from training.models.whole_image import WholeImageModel
from training.samples import Targets

REPOSITORY = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-3
"""Of the largest mask logit; both sides round, and fifty layers pass it on."""

MEMORY = """
import sys
import torch
from benchmarks.measure import one_core, with_peak
from benchmarks.model_speed import network, published
from tests.reference.dense import dense_masks

side, backbone, queries, height, width = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
with one_core(), torch.no_grad():
    torch.set_num_threads(1)
    model = network(backbone, queries)
    if side == "published":
        model = published(model)
    infer = (lambda image: dense_masks(model(image))) if side == "ours" else model
    infer(torch.randn(1, 3, 64, 64))  # what the first use costs is paid here
    _, used_gb = with_peak(lambda: infer(torch.randn(1, 3, height, width)))
print(used_gb)
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=["resnet50", "swin_t"], default="resnet50")
    parser.add_argument("--cases", nargs="+", default=["300x50", "2000x200"], metavar="QxN",
                        help="queries, and targets of the training step (300x50 2000x200)")  # fmt: skip
    parser.add_argument("--size", default="384x384", help="height x width in pixels")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args(argv)
    height, width = map(int, arguments.size.split("x"))
    figures = []
    for case in arguments.cases:
        queries, masks = map(int, case.split("x"))
        name = f"{arguments.backbone}, {queries} queries, {arguments.size}"
        rows = [(f"{name}: {what}", *pair, "s") for what, *pair in
                compare(arguments.backbone, queries, masks, (height, width), arguments.runs)]  # fmt: skip
        ours_gb, theirs_gb = (peak_of(s, arguments.backbone, queries, (height, width)) for s in ("ours", "published"))
        rows.append((f"{name}: memory of inference", ours_gb, theirs_gb, "GB"))
        for title, ours, theirs, unit in rows:
            print(
                f"{title}: {ours:.2f} {unit}, transformers {theirs:.2f} {unit}, {theirs / ours:.2f} times", flush=True
            )
            figures.append(figure(f"model, {title}", ours, theirs, unit))
    print_figures(figures)
    return 0


def compare(
    backbone: str, queries: int, masks: int, size_hw: tuple[int, int], runs: int
) -> list[tuple[str, float, float]]:
    """What was timed, our shortest time of it and transformers', in seconds."""
    ours = network(backbone, queries)
    theirs = published(ours)
    images_B3HW = torch.randn(1, 3, *size_hw)
    require_equal(ours, theirs, images_B3HW)
    masks_NHW = drawn_masks(masks, size_hw)
    criterion = Criterion(LossConfig())
    labels = {"mask_labels": [masks_NHW.float()], "class_labels": [torch.zeros(len(masks_NHW), dtype=torch.int64)]}

    def our_loss() -> torch.Tensor:
        output = ours(images_B3HW, deep_supervision=True)
        return criterion(output, [Targets(masks_NHW)], torch.Generator().manual_seed(0)).total

    def their_loss() -> torch.Tensor:
        loss: torch.Tensor = theirs(images_B3HW, **labels).loss
        return loss

    cases = {
        "inference": (infer(lambda: dense_masks(ours(images_B3HW))), infer(lambda: theirs(images_B3HW))),
        f"training step, {masks} masks": (learn(ours, our_loss), learn(theirs, their_loss)),
    }
    found = []
    for case, sides in cases.items():
        best_s = [math.inf, math.inf]
        for _ in range(runs):
            losses = []
            for side, step in enumerate(sides):
                loss, seconds = timed(step)
                losses.append(loss)
                best_s[side] = min(best_s[side], seconds)
            if not math.isclose(*losses, rel_tol=0.1):
                raise RuntimeError(f"losses of {case} differ: {losses[0]} and {losses[1]}")
        found.append((case, best_s[0], best_s[1]))
    return found


def peak_of(side: str, backbone: str, queries: int, size_hw: tuple[int, int]) -> float:
    """What inference adds to the memory of a process that has the network, at its peak, in GB."""
    command = [sys.executable, "-c", MEMORY, side, backbone, str(queries), *map(str, size_hw)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY)
    return float(done.stdout)


def network(backbone: str, queries: int) -> WholeImageModel:
    """Our model with random weights, always the same, in evaluation mode: nothing is left out by chance."""
    torch.manual_seed(0)
    return WholeImageModel(ModelConfig(backbone=backbone, queries=queries)).eval()


def infer(predict: Callable[[], object]) -> Callable[[], float]:
    """Predicts without gradients; no loss."""

    def run() -> float:
        with torch.no_grad():
            predict()
        return 0.0

    return run


def learn(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], float]:
    """Computes a loss and its gradients, as every step of training does; gives the loss."""

    def run() -> float:
        model.zero_grad(set_to_none=True)
        found = loss()
        found.backward()
        return found.item()

    return run


def drawn_masks(count: int, size_hw: tuple[int, int]) -> torch.Tensor:
    """bool (N, H, W): boxes of many sizes, always the same."""
    generator = torch.Generator().manual_seed(1)
    masks_NHW = torch.zeros(count, *size_hw, dtype=torch.bool)
    for mask_HW in masks_NHW:
        centre, half = (torch.rand(2, generator=generator) for _ in range(2))
        (top, left), (bottom, right) = ((centre + sign * (0.02 + 0.3 * half)).clamp(0, 1) for sign in (-1, 1))
        height, width = size_hw
        mask_HW[int(top * height) : int(bottom * height) + 1, int(left * width) : int(right * width) + 1] = True
    return masks_NHW


def published(ours: WholeImageModel) -> Any:
    """transformers' model with our weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face(ours, Path(folder) / "model")
        theirs = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(Path(folder) / "model").eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.requires_grad_(False)
    return theirs


def our_layers(model: WholeImageModel, images_B3HW: torch.Tensor) -> list[torch.Tensor]:
    """Class and mask logits, the last layer's last."""
    output = model(images_B3HW, deep_supervision=True)
    layers = [*zip(output.class_logits_LBQ2, dense_masks(output), strict=True)]
    return [logits for layer in layers for logits in layer]


def their_layers(model: Any, images_B3HW: torch.Tensor) -> list[torch.Tensor]:
    """Class and mask logits, the last layer's last."""
    output = model(images_B3HW, output_auxiliary_logits=True)
    layers = [*output.auxiliary_logits, output]
    return [layer[name] for layer in layers for name in ("class_queries_logits", "masks_queries_logits")]


def require_equal(ours: WholeImageModel, theirs: Any, images_B3HW: torch.Tensor) -> None:
    """Raises RuntimeError when the two predict different things."""
    with torch.no_grad():
        for mine, other in zip(our_layers(ours, images_B3HW), their_layers(theirs, images_B3HW), strict=True):
            difference, scale = (mine - other).abs().max().item(), other.abs().max().item()
            if difference > TOLERANCE * scale:
                raise RuntimeError(f"predictions differ by {difference:.2g} of {scale:.2g}")


if __name__ == "__main__":
    with one_core():
        torch.set_num_threads(1)
        sys.exit(main())

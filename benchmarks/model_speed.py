"""The whole-image model beside transformers' Mask2Former, of the same weights, on the same image and on one core.

"forward" is inference, the masks of all queries multiplied out on both sides. "forward and backward" has the masks of
all layers and a loss on every one of their cells. "training step" has the losses of training instead, each side's own;
ours never multiplies the masks out. Norms are frozen on both sides. Predictions must be equal, and losses nearly so,
as each side draws its own points.

Example:
    python benchmarks/model_speed.py
    python benchmarks/model_speed.py --backbone swin_t --size 320x480 --queries 100
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measure import best_time, figure, one_core, print_figures
from training.config import LossConfig, ModelConfig
from training.models.checkpoints import save_hugging_face
from training.models.criterion import Criterion
from training.models.whole_image import WholeImageModel
from training.samples import Output, Targets

TOLERANCE = 1e-3
"""Of the largest mask logit; both sides round, and fifty layers pass it on."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=["resnet50", "swin_t"], default="resnet50")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--masks", type=int, default=50, help="targets of the training step")
    parser.add_argument("--size", default="512x512", help="height x width in pixels")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args(argv)
    height, width = map(int, arguments.size.split("x"))
    torch.manual_seed(0)
    ours = WholeImageModel(ModelConfig(backbone=arguments.backbone, queries=arguments.queries)).eval()
    theirs = published(ours)
    images_B3HW = torch.randn(1, 3, height, width)
    require_equal(ours, theirs, images_B3HW)

    masks_NHW = drawn_masks(arguments.masks, (height, width))
    criterion = Criterion(LossConfig())
    labels = {"mask_labels": [masks_NHW.float()], "class_labels": [torch.zeros(len(masks_NHW), dtype=torch.int64)]}

    def everywhere(layers: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack([logits.square().mean() for logits in layers]).sum()

    def our_loss() -> torch.Tensor:
        output = ours(images_B3HW, deep_supervision=True)
        return criterion(output, [Targets(masks_NHW)], torch.Generator().manual_seed(0)).total

    def their_loss() -> torch.Tensor:
        loss: torch.Tensor = theirs(images_B3HW, **labels).loss
        return loss

    cases = {
        "forward": (infer(lambda: ours(images_B3HW).dense()), infer(lambda: theirs(images_B3HW))),
        "forward and backward": (
            learn(lambda: everywhere(our_layers(ours, images_B3HW))),
            learn(lambda: everywhere(their_layers(theirs, images_B3HW))),
        ),
        f"training step, {arguments.masks} masks": (learn(our_loss), learn(their_loss)),
    }
    name = f"{arguments.backbone}, {arguments.queries} queries, {arguments.size}"
    figures = []
    for case, (mine, other) in cases.items():
        our_loss_value, our_s = best_time(mine, arguments.runs)
        their_loss_value, their_s = best_time(other, arguments.runs)
        if not math.isclose(our_loss_value, their_loss_value, rel_tol=0.1):
            raise RuntimeError(f"losses of {case} differ: {our_loss_value} and {their_loss_value}")
        print(f"{name}: {case}: {our_s:.2f} s, transformers {their_s:.2f} s, {their_s / our_s:.2f} times")
        figures.append(figure(f"model, {name}: {case}", our_s, their_s, "s"))
    print_figures(figures)
    return 0


def infer(predict: Callable[[], object]) -> Callable[[], float]:
    """Predicts without gradients; no loss."""

    def run() -> float:
        with torch.no_grad():
            predict()
        return 0.0

    return run


def learn(loss: Callable[[], torch.Tensor]) -> Callable[[], float]:
    """Computes a loss and its gradients, as the first step of training does; gives the loss."""

    def run() -> float:
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
    """Class and mask logits, the last layer's first."""
    output: Output = model(images_B3HW, deep_supervision=True).dense()
    layers = [output, *output.aux]
    return [logits for layer in layers for logits in (layer.class_logits_BQ2, layer.mask_logits_BQhw)]


def their_layers(model: Any, images_B3HW: torch.Tensor) -> list[torch.Tensor]:
    """Class and mask logits, the last layer's first."""
    output = model(images_B3HW, output_auxiliary_logits=True)
    layers = [output, *output.auxiliary_logits]
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

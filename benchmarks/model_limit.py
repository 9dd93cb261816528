"""Where the time of a training step goes, part by part, and how far it is from its matrix products alone.

Each part runs forward and backward by itself, on one core. The limit is the number of operations of its products,
convolutions and attention, counted as they run, over the rate of a large product of matrices on this core. What else a
part does (norms, additions, sigmoids, sorting, memory that is new) has no operations here, so no part reaches it.

Example:
    python -m benchmarks.model_limit
    python -m benchmarks.model_limit --queries 300 --masks 50
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from benchmarks.measure import best_time, figure, one_core, print_figures
from benchmarks.model_speed import drawn_masks, network
from training.config import LossConfig
from training.models.criterion import Criterion
from training.models.pixel_decoder import PixelFeatures
from training.samples import FactoredOutput, Targets

SIDE = 2048
"""Of the matrices whose product gives the rate."""


@dataclass(frozen=True)
class Part:
    """What one part of a training step took, in seconds, and its operations in units of 10^9."""

    name: str
    forward_s: float
    backward_s: float
    gflop: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=["resnet50", "swin_t"], default="resnet50")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--size", type=int, default=384, help="height and width in pixels")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args(argv)
    parts = measured(arguments.backbone, arguments.queries, arguments.masks, arguments.size, arguments.runs)
    gflop_s = rate(arguments.runs)
    print(f"one product of matrices: {gflop_s:.0f} GFLOP/s")
    print("| part | forward | backward | GFLOP | GFLOP/s | at the rate of a product |")
    print("|---|---:|---:|---:|---:|---:|")
    total = Part("all", *(sum(getattr(p, n) for p in parts) for n in ("forward_s", "backward_s", "gflop")))
    for part in (*parts, total):
        seconds, limit_s = part.forward_s + part.backward_s, part.gflop / gflop_s
        print(f"| {part.name} | {part.forward_s:.2f} s | {part.backward_s:.2f} s | {part.gflop:.0f} "
              f"| {part.gflop / seconds:.0f} | {limit_s:.2f} s, {limit_s / seconds:.0%} |")  # fmt: skip
    name = f"limit, {arguments.backbone}, {arguments.queries} queries, {arguments.masks} masks, {arguments.size}"
    print_figures([figure(name, total.forward_s + total.backward_s, total.gflop / gflop_s, "s")])
    return 0


def measured(backbone: str, queries: int, masks: int, size: int, runs: int) -> list[Part]:
    """The parts of a step in their order; each gets what the one before it gives, without its history."""
    model = network(backbone, queries)
    pixel_level, decoder = model.model.pixel_level_module, model.model.transformer_module
    targets = [Targets(drawn_masks(masks, (size, size)))]
    criterion = Criterion(LossConfig())

    def predict(features: Any, *levels: Any) -> tuple[torch.Tensor, ...]:
        found = decoder(PixelFeatures(features, levels, sizes_hw), every_layer=True)
        return model.class_predictor(found.normed_LBQC), found.embeddings_LBQC

    def lose(class_logits: Any, embeddings: Any, features: Any) -> tuple[torch.Tensor, ...]:
        output = FactoredOutput(class_logits, embeddings, features)
        return (criterion(output, targets, torch.Generator().manual_seed(0)).total,)

    def pixels(*maps: Any) -> tuple[torch.Tensor, ...]:
        found = pixel_level.decoder(maps)
        return found.mask_features_BChw, *found.levels_BSC

    image_B3HW = torch.randn(1, 3, size, size)
    maps, backbone_part = part_of("backbone", pixel_level.encoder, (image_B3HW,), runs)
    sizes_hw = tuple((m.shape[2], m.shape[3]) for m in reversed(maps[1:]))
    levels, pixel_part = part_of("pixel decoder", pixels, maps, runs)
    predictions, decoder_part = part_of("mask decoder", predict, levels, runs)
    _, loss_part = part_of("matching and losses", lose, (*predictions, levels[0]), runs)
    return [backbone_part, pixel_part, decoder_part, loss_part]


def part_of(
    name: str, run: Callable[..., Sequence[torch.Tensor]], given: Sequence[torch.Tensor], runs: int
) -> tuple[tuple[torch.Tensor, ...], Part]:
    """What a part gives, as new leaves, and what it took."""
    inputs = [tensor.detach().requires_grad_(tensor.shape[1] != 3) for tensor in given]

    def forward() -> Sequence[torch.Tensor]:
        return run(*inputs)

    def backward(results: Sequence[torch.Tensor]) -> None:
        torch.autograd.backward(results, [torch.ones_like(result) for result in results])

    with FlopCounterMode(display=False, custom_mapping=on_cpu()) as counter:
        backward(forward())
    forward_s = backward_s = float("inf")
    for _ in range(runs):
        results, seconds = best_time(forward, 1)
        forward_s = min(forward_s, seconds)
        backward_s = min(backward_s, best_time(lambda found=results: backward(found), 1)[1])
    gflop = counter.get_total_flops() / 1e9
    return tuple(result.detach() for result in results), Part(name, forward_s, backward_s, gflop)


def on_cpu() -> dict[Any, Any]:
    """Operations of what torch's counter knows on a GPU alone, or only under another name."""
    aten = torch.ops.aten

    def attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_backward_flop_count(gradient, query, key, value)

    def added_product(_: Any, first: Any, second: Any, **__: Any) -> int:
        return 2 * first[0] * first[1] * second[1]

    return {
        aten._scaled_dot_product_flash_attention_for_cpu: attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
        aten.addmm_: added_product,
    }


def rate(runs: int) -> float:
    """Operations of a product of two large matrices a second, in units of 10^9."""
    left, right, result = (torch.ones(SIDE, SIDE) for _ in range(3))
    _, seconds = best_time(lambda: torch.mm(left, right, out=result), runs + 1)
    return 2 * SIDE**3 / seconds / 1e9


if __name__ == "__main__":
    with one_core():
        torch.set_num_threads(1)
        sys.exit(main())

"""How long a click takes on a CPU: an image is embedded once, then every click is answered.

"embedding" is from the pixels to what clicks are answered from; "one click" from a click to six masks of the image's
own size; "a correction" is a prompt of six clicks; "all masks" are those of a grid of 1,024 clicks, or of what a
checkpoint says. The network is that of a configuration, with random weights unless a checkpoint is named. Times hardly
depend on the weights, but for that of all masks: nearly none of a random network's are kept. Each is the median of
several runs.

Example:
    python -m benchmarks.click_latency
    python -m benchmarks.click_latency --cores 2 --size 1200x1600 --checkpoint out/clicks/model_final.pth
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.measure import figure, print_figures, skipped
from dico.executors.machine import usable_cpus
from dico.image import Image, resize_image
from training.automatic_masks import AutomaticMasks
from training.benchmarking.clicks import click_times
from training.config import AutomaticConfig, load_train_config
from training.models.promptable import PromptableModel
from training.prompt_predictor import PromptPredictor

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIG = REPOSITORY / "configs" / "training" / "promptable_tiny.yaml"
LIMIT_S = 0.1
"""What a click may take for a page to feel immediate."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", type=Path, default=CONFIG, help="of the network (promptable_tiny.yaml)")
    parser.add_argument("--checkpoint", type=Path, help="weights, and what they are of, in place of random ones")
    parser.add_argument("--size", default="480x640", help="height x width of the image in pixels")
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2], help="how many cores may work (1 2)")
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args(argv)
    height, width = map(int, arguments.size.split("x"))
    image = drawn((height, width))
    figures = []
    usable = usable_cpus()
    for cores in arguments.cores:
        if cores > usable:
            print(f"{cores} cores: left out, as this process may use only {usable}", file=sys.stderr)
            continue
        with limited_to(cores):
            automatic = made(arguments.config_file, arguments.checkpoint, threads=cores)
            for what, times in click_times(automatic.predictor, automatic, image, arguments.runs):
                seconds = statistics.median(times)
                name = f"{what}, {arguments.size}, {cores} core{'s' * (cores > 1)}"
                print(f"{name}: {1000 * seconds:.1f} ms", flush=True)
                figures.append(figure(f"clicks: {name}", seconds, LIMIT_S if "click" in what else None, "s"))
    if not figures:
        return skipped(f"there are not so many cores for this process, but {usable}")
    print_figures(figures)
    return 0


def made(config_file: Path, checkpoint: Path | None, *, threads: int) -> AutomaticMasks:
    """A checkpoint's model, asked as it says; or one of random weights, always the same."""
    if checkpoint is not None:
        return AutomaticMasks.from_checkpoint(checkpoint, threads=threads)
    config = load_train_config(config_file)
    torch.manual_seed(0)
    predictor = PromptPredictor(PromptableModel(config.promptable), config.inference, threads=threads)
    return AutomaticMasks(predictor, AutomaticConfig(), config.inference)


def drawn(size_hw: tuple[int, int]) -> Image:
    """uint8 (H, W, 3): coloured blobs, always the same."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    return resize_image(coarse, size_hw)


@contextmanager
def limited_to(cores: int) -> Iterator[None]:
    """Everything inside runs on so many cores, or on all that the process may use, if fewer."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    threads = torch.get_num_threads()
    if before:
        os.sched_setaffinity(0, set(sorted(before)[-cores:]))
    torch.set_num_threads(cores)
    try:
        with threadpool_limits(cores):
            yield
    finally:
        torch.set_num_threads(threads)
        if before:
            os.sched_setaffinity(0, before)


if __name__ == "__main__":
    sys.exit(main())

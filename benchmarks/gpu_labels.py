"""Labels with features of DINO ViT-B/8 on a GPU: images a second, who waits for whom, and how far from the limit.

The weights are random; the stage is that of ``configs/dico/unsam.yaml`` in full (MaskCut, crops, merging, CRF), in as
many processes as there are cores, fed by one extractor in bfloat16. The limit is what the GPU could do if it only
multiplied: operations of the network, counted, over its peak.

Example:
    python -m benchmarks.gpu_labels
    python -m benchmarks.gpu_labels --device cpu --images 2 --workers 1 extractor.size=64 conquer.crop_size=64
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.executor_scaling import Watched
from benchmarks.measure import figure, print_figures, skipped
from dico.config import load_config
from dico.executors.machine import usable_cpus
from dico.executors.pool import PoolExecutor
from dico.job import PipelineJob
from dico.photographs import photograph_paths
from dico.run import RunOptions, run
from dico.store import Manifest, MaskStore

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "dico" / "unsam.yaml"
MOST_S = 0.1
"""What an image may take."""
LAYERS, WIDTH, PATCH = 12, 768, 8
PEAK_TFLOPS = 989.0
"""Of an H200 in bfloat16, without sparsity."""


def forward_tflop(size: int) -> float:
    """Operations of ViT-B/8 for one square image, in units of 1e12: matrix products only, two for each multiply-add.

    Example:
        >>> round(forward_tflop(480), 2)
        1.09
    """
    tokens = (size // PATCH) ** 2 + 1
    return LAYERS * (24 * tokens * WIDTH**2 + 4 * tokens**2 * WIDTH) / 1e12


def write_random_vit(folder: Path, size: int) -> None:
    """A Hugging Face folder of ViT-B/8 with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        intermediate_size=4 * WIDTH,
        patch_size=PATCH,
        image_size=size,
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder)


class Utilisation:
    """Share of the time that the GPU was at work, in percent, asked every half second within the block."""

    def __init__(self) -> None:
        self.percents: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Utilisation:
        if shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _ask(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._over.wait(0.5):
            answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
            self.percents += [float(answer[0])] if answer and answer[0].isdigit() else []


def main(argv: Sequence[str] | None = None) -> int:
    """Labels and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--workers", type=int, default=usable_cpus())
    parser.add_argument("--device", default="cuda")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as extractor.size=384")
    args = parser.parse_intermixed_args(argv)
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return skipped("torch and transformers: pip install '.[hf,crf]'")
    import torch

    if args.device != "cpu" and not torch.cuda.is_available():
        return skipped("a GPU (or --device cpu)")
    with tempfile.TemporaryDirectory() as folder:
        weights, images = Path(folder) / "vit", Path(folder) / "images"
        overrides = [f"extractor.weights={weights}", f"extractor.device={args.device}", "extractor.dtype=bfloat16"]
        config = load_config(CONFIG, [*overrides, *args.overrides])
        write_random_vit(weights, config.extractor.size)
        images.mkdir()
        sources = photograph_paths(6)
        for i in range(args.images):
            source = sources[i % len(sources)]
            (images / f"{i:05d}{source.suffix}").symlink_to(source)
        manifest = Manifest.of_files(
            sorted(images.iterdir()), root=images, config=config.to_dict(), config_hash=config.hash()
        )
        store = MaskStore.create(Path(folder) / "labels", manifest)
        job, options = PipelineJob(config), RunOptions(show_progress=False)
        watched = Watched(PoolExecutor(args.workers))
        with Utilisation() as utilisation:
            summary = run(job, store, options, executor=watched)
    if summary.failed:
        raise RuntimeError(summary.sentence())
    print(summary.sentence())
    steady = watched.times[args.workers - 1 :]  # loading and compiling are no part of the rate
    per_image_s = (steady[-1] - steady[0]) / max(1, len(steady) - 1)
    limit_s = forward_tflop(config.extractor.size) / PEAK_TFLOPS
    if utilisation.percents:
        print(f"GPU at work {np.mean(utilisation.percents):.0f} % of the time")
    print(
        f"{per_image_s:.3f} s an image with {args.workers} processes at work; whole images alone need"
        f" {forward_tflop(config.extractor.size):.2f} TFLOP, {1000 * limit_s:.2f} ms at the peak of an H200:"
        f" {per_image_s / limit_s:.0f} times that"
    )
    print_figures([figure("an image with DINO ViT-B/8, full stage", per_image_s, MOST_S, "s")])
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast a whole-image network gives an image its masks, and how much memory that takes beside the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dico.stopwatch import stopwatch
from training.benchmarking.clock import peak_gb, timed, with_peak
from training.benchmarking.drawing import draw_scene
from training.benchmarking.figures import GIGABYTES, Figure, of_times
from training.benchmarking.settings import BenchmarkSettings
from training.build import new_model
from training.config import InferenceConfig
from training.device import choose_device
from training.models.checkpoints import load_model
from training.predictor import Predictor
from training.settings import settings_of

PART = "inference"
STAGES = {"network": "the network", "masks": "masks from its output"}


def measure_inference(settings: BenchmarkSettings) -> list[Figure]:
    """The figures of one drawn image, asked again and again.

    Args:
        settings: Which network, how large an image, and how often.

    Raises:
        CheckpointError, FileNotFoundError, KeyError, ValueError, TypeError: when the network cannot be made.
    """
    device = choose_device(settings.device)
    model, inference = whole_image_model(settings)
    predictor = Predictor(model, inference, device=device)
    image, _ = draw_scene(settings.size_hw, settings.shapes, seed=0)
    # What the first use costs, on few pixels: memory that was used once and freed would be used again, uncounted.
    Predictor(model, replace(inference, short_side=64, long_side=64), device=device)(image[:48, :48])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before_gb = torch.cuda.memory_allocated(device) / 1e9
    _, beside_gb = with_peak(lambda: predictor(image))
    totals: list[float] = []
    by_stage: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(settings.runs):
        with stopwatch() as seconds_by_stage:
            totals.append(timed(lambda: predictor(image))[1])
        for stage, held in by_stage.items():
            held.append(seconds_by_stage[stage])
    height, width = settings.size_hw
    figures = [
        of_times(PART, f"an image of {height}x{width}", totals),
        *(of_times(PART, f"of it, {said}", by_stage[stage]) for stage, said in STAGES.items()),
        Figure(PART, "throughput", len(totals) / sum(totals), "images/s", runs=len(totals)),
        Figure(PART, "peak memory", peak_gb(), GIGABYTES),
        Figure(PART, "of it, beside the network", beside_gb, GIGABYTES),
    ]
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e9
        figures.append(Figure(PART, "peak GPU memory", peak, GIGABYTES))
        figures.append(Figure(PART, "of it, beside the network on the GPU", peak - before_gb, GIGABYTES))
    return figures


def whole_image_model(settings: BenchmarkSettings) -> tuple[nn.Module, InferenceConfig]:
    """The trained whole-image network that is given, or the configured one with random weights; and how it is asked.

    Args:
        settings: Which.
    """
    config = settings.config_of(settings.whole_image_config)
    if settings.checkpoint:
        trained = settings_of(Path(settings.checkpoint))
        if trained.task == config.task:
            return load_model(settings.checkpoint), trained.inference
    return new_model(config), config.inference

"""How fast a whole-image network gives an image its masks, and how much memory that takes beside the network."""

from __future__ import annotations

from pathlib import Path

import torch

from dico.stopwatch import stopwatch
from training.benchmarking.clock import peak_gb, timed, with_peak
from training.benchmarking.drawing import draw_scene
from training.benchmarking.figures import GIGABYTES, Figure, of_times
from training.benchmarking.settings import BenchmarkSettings
from training.build import new_model
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
    predictor = whole_image_predictor(settings, device)
    image, _ = draw_scene(settings.size_hw, settings.shapes, seed=0)
    predictor(image[:64, :64])  # what the first use costs
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


def whole_image_predictor(settings: BenchmarkSettings, device: torch.device) -> Predictor:
    """A trained whole-image network where one is given, else the configured one with random weights.

    Args:
        settings: Which.
        device: Where it computes.
    """
    config = settings.config_of(settings.whole_image_config)
    if settings.checkpoint:
        trained = settings_of(Path(settings.checkpoint))
        if trained.task == config.task:
            return Predictor(load_model(settings.checkpoint), trained.inference, device=device)
    return Predictor(new_model(config), config.inference, device=device)

"""How fast a network is trained: real steps, from files that are read and decoded, on drawn images and masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from training.benchmarking.clock import peak_gb
from training.benchmarking.drawing import write_scenes
from training.benchmarking.figures import GIGABYTES, Figure, of_times
from training.benchmarking.settings import BenchmarkSettings
from training.build import build_loader, new_model
from training.config import TrainConfig
from training.device import choose_device
from training.engine.optim import build_optimiser
from training.engine.trainer import Hook, StepReport, Trainer
from training.objectives import build_objective

PART = "training"


class _Recorder(Hook):
    """Keeps what steps report."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []

    def after_step(self, trainer: Trainer, report: StepReport) -> None:
        self.reports.append(report)


def measure_training(settings: BenchmarkSettings) -> list[Figure]:
    """The figures of some steps of training, from random weights.

    Args:
        settings: What is trained, and how long.

    Raises:
        FileNotFoundError, KeyError, ValueError, TypeError: when the configuration cannot work.
    """
    config = settings.config_of(settings.training_config)
    device = choose_device(config.device if settings.device == "auto" else settings.device)
    with TemporaryDirectory() as folder:
        annotations = write_scenes(Path(folder), settings.scenes, settings.size_hw, settings.shapes)
        reports = _trained(_on(config, annotations, settings), device, settings.warmup_steps)
    seconds = [report.step_s for report in reports]
    images = sum(report.images for report in reports)
    batch = config.optim.batch_size
    figures = [
        of_times(PART, f"a step of {batch} images", seconds),
        of_times(PART, "of it, waiting for images", [report.data_s for report in reports]),
        Figure(PART, "steps", len(seconds) / sum(seconds), "steps/s", runs=len(seconds)),
        Figure(PART, "throughput", images / sum(seconds), "images/s", runs=len(seconds)),
        # Processes that read images ahead have some of their own.
        Figure(PART, "peak memory of the process that trains", peak_gb(), GIGABYTES),
    ]
    if device.type == "cuda":
        figures.append(Figure(PART, "peak GPU memory", torch.cuda.max_memory_allocated(device) / 1e9, GIGABYTES))
    return figures


def _on(config: TrainConfig, annotations: Path, settings: BenchmarkSettings) -> TrainConfig:
    """The configuration, for some steps from drawn images and random weights."""
    steps = settings.warmup_steps + settings.steps
    return replace(
        config,
        weights="",
        backbone_weights="",
        data=replace(config.data, train=(str(annotations),)),
        optim=replace(config.optim, steps=steps, warmup_steps=0),
    )


def _trained(config: TrainConfig, device: torch.device, warmup_steps: int) -> list[StepReport]:
    model = new_model(config).to(device)
    recorder = _Recorder()
    trainer = Trainer(
        model,
        build_objective(config),
        build_loader(config),
        build_optimiser(model, config.optim),
        config.optim,
        seed=config.seed,
        hooks=[recorder],
    )
    if not trainer.run():
        raise KeyboardInterrupt
    return recorder.reports[warmup_steps:]

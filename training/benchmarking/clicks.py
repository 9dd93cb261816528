"""How long a promptable network takes to see an image, and then to answer clicks on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dico.image import Image
from training.automatic_masks import AutomaticMasks
from training.benchmarking.clock import peak_gb, times
from training.benchmarking.drawing import draw_scene
from training.benchmarking.figures import GIGABYTES, Figure, of_times
from training.benchmarking.settings import BenchmarkSettings
from training.build import new_model
from training.config import TrainConfig
from training.device import choose_device
from training.models.promptable import PromptableModel
from training.prompt_predictor import PromptPredictor
from training.promptable_checkpoint import TASK, load_promptable
from training.settings import settings_of

PART = "clicks"


def measure_clicks(settings: BenchmarkSettings) -> list[Figure]:
    """The figures of one drawn image.

    Args:
        settings: Which network, how large an image, and how often.

    Raises:
        CheckpointError, FileNotFoundError, KeyError, ValueError, TypeError: when the network cannot be made.
    """
    device = choose_device(settings.device)
    model, config = promptable_model(settings)
    predictor = PromptPredictor(model, config.inference, click_px=config.prompts.click_px, device=device)
    grid = replace(config.automatic, points_per_side=settings.points_per_side)
    automatic = AutomaticMasks(predictor, grid, config.inference)
    image, _ = draw_scene(settings.size_hw, settings.shapes, seed=0)
    measured = click_times(predictor, automatic, image, settings.runs)
    figures = [of_times(PART, name, seconds) for name, seconds in measured]
    figures.append(Figure(PART, "peak memory", peak_gb(), GIGABYTES))
    if device.type == "cuda":
        figures.append(Figure(PART, "peak GPU memory", torch.cuda.max_memory_allocated(device) / 1e9, GIGABYTES))
    return figures


def promptable_model(settings: BenchmarkSettings) -> tuple[PromptableModel, TrainConfig]:
    """A trained promptable network where one is given, else the configured one with random weights; and its settings.

    Args:
        settings: Which.

    Raises:
        ValueError: when the configuration is of another task.
    """
    if settings.checkpoint and settings_of(Path(settings.checkpoint)).task == TASK:
        return load_promptable(settings.checkpoint)
    config = settings.config_of(settings.promptable_config)
    model = new_model(config)
    if not isinstance(model, PromptableModel):
        raise ValueError(f"task must be {TASK} in {settings.promptable_config}, got {config.task}")
    return model, config


def click_times(
    predictor: PromptPredictor, automatic: AutomaticMasks, image: Image, runs: int
) -> Iterator[tuple[str, Sequence[float]]]:
    """What a user waits for.

    Args:
        predictor: Answers; its image is set.
        automatic: Asks for all masks, through the same predictor.
        image: uint8 (H, W, 3), RGB.
        runs: How often each is repeated; all masks are asked for once.

    Yields:
        What was timed, and the seconds of each run.
    """
    rng = np.random.default_rng(0)
    places = rng.integers(0, image.shape[1::-1], (runs, 6, 2))

    def embed(run: int) -> None:
        predictor.set_image(image)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a GPU says that it is done before it is

    yield "embedding", times(embed, runs)
    seen = predictor.image

    def click(run: int) -> None:
        predictor.set_image(replace(seen))  # as if it were the first: no window is known of a copy
        predictor.predict(points=places[run, :1])

    yield "one click", times(click, runs)
    labels = [1, 0, 1, 0, 1, 0]
    yield "a correction of six clicks", times(lambda run: predictor.predict(points=places[run], labels=labels), runs)
    yield "all masks", times(lambda run: automatic(image), 1)

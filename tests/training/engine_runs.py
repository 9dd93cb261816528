"""What the tests of the engine train: drawn scenes, a tiny model, a source of batches that keeps to the positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from dico.config_loading import to_plain
from tests.training.test_learning import scene
from training.config import LossConfig, ModelConfig, OptimConfig, TrainConfig
from training.engine import comm
from training.engine.checkpoint import Checkpoints
from training.engine.hooks import CheckpointHook, resume_from
from training.engine.metrics import MetricsFile
from training.engine.optim import build_optimiser
from training.engine.run_log import LogHook
from training.engine.trainer import Hook, Trainer
from training.models.criterion import Criterion
from training.models.points import draw_points
from training.models.whole_image import WholeImageModel
from training.samples import Batch, Losses, Sample, collate

MODEL = ModelConfig(
    backbone="tiny", width=32, heads=4, queries=6, encoder_layers=1, encoder_feedforward=32, decoder_layers=2,
    decoder_feedforward=32,
)  # fmt: skip
LOSS = LossConfig(points=128)


def train_config(folder: Path, **optim: object) -> TrainConfig:
    """A tiny run of six steps of two images, a log line and a checkpoint every step or two."""
    options = {"steps": 6, "batch_size": 2, "lr": 1e-3, "clip_norm": 1.0, **optim}
    return TrainConfig(
        output=str(folder), log_every=1, checkpoint_every=2, model=MODEL, loss=LOSS, optim=OptimConfig(**options)
    )


class Scenes:
    """Batches of eight drawn scenes: of rank r of W, the r-th part of the positions of each step."""

    def __init__(self, batch_size: int, *, images: int = 8) -> None:
        self._own = batch_size // comm.world_size()
        self._batch_size = batch_size
        self._images = images

    def batches(self, start_step: int) -> Iterator[Batch]:
        step = start_step
        while True:
            first = step * self._batch_size + comm.rank() * self._own
            yield collate([self._sample(position) for position in range(first, first + self._own)])
            step += 1

    def _sample(self, position: int) -> Sample:
        drawn = scene(position % self._images)
        kept = 1 + position % 3  # images of one, two and three masks
        return Sample(drawn.key, drawn.image_CHW, drawn.masks_NHW[:kept], position)


def whole_image_objective(model: nn.Module, batch: Batch) -> Losses:
    """The losses of a batch, at points that are functions of the positions of its images."""
    points = [draw_points(LOSS, torch.Generator().manual_seed(position)) for position in batch.positions]
    return Criterion(LOSS).at_points(model(batch.images_BCHW, deep_supervision=True), batch.targets, points)


def checkpoints_of(config: TrainConfig) -> Checkpoints:
    return Checkpoints(Path(config.output), to_plain(config), keep=config.keep_checkpoints)


def metrics_of(config: TrainConfig) -> MetricsFile:
    return MetricsFile(Path(config.output) / "metrics.jsonl")


def trainer_of(
    config: TrainConfig,
    *,
    go_on: bool = False,
    hooks: Sequence[Hook] = (),
    objective: Callable[[nn.Module, Batch], Losses] = whole_image_objective,
    model: nn.Module | None = None,
) -> Trainer:
    """A Trainer of the tiny model with a log and checkpoints."""
    torch.manual_seed(config.seed)
    model = model or WholeImageModel(config.model)
    checkpoints = checkpoints_of(config)
    trainer = Trainer(
        model,
        objective,
        Scenes(config.optim.batch_size),
        build_optimiser(model, config.optim),
        config.optim,
        seed=config.seed,
        hooks=[
            LogHook(metrics_of(config), every=config.log_every),
            CheckpointHook(checkpoints, every=config.checkpoint_every),
            *hooks,
        ],
    )
    if go_on:
        resume_from(trainer, checkpoints)
    return trainer


def train(config: TrainConfig, attempt: int = 0, *, hooks: Sequence[Hook] = ()) -> int:
    """A run, as ``launch`` calls it; an attempt after the first goes on from the last checkpoint."""
    return 0 if trainer_of(config, go_on=attempt > 0, hooks=hooks).run() else 130


def final_weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return torch.load(Path(config.output) / "model_final.pth", weights_only=True)["model"]


def losses_of(config: TrainConfig) -> list[tuple[int, float, float]]:
    """Step, loss and gradient norm of every line of the log."""
    return [(line["step"], line["loss"], line["grad_norm"]) for line in metrics_of(config).read()]

"""From a configuration to the objects that train: the one place where data, models, engine and evaluation meet."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dico.atomic import atomic_file
from dico.config_loading import to_plain
from training.config import TrainConfig
from training.data.catalog import open_source, open_sources
from training.data.loader import TrainLoader
from training.data.mapper import Mapper
from training.device import choose_device
from training.engine import comm
from training.engine.checkpoint import Checkpoints
from training.engine.hooks import CheckpointHook, EvaluationHook, resume_from
from training.engine.metrics import METRICS, MetricsFile
from training.engine.optim import build_optimiser
from training.engine.run_log import Line, LogHook, ProgressLine, tensorboard
from training.engine.trainer import Hook, Trainer
from training.evaluation.base import Report
from training.evaluators import asker, build_evaluators, build_measure
from training.models.checkpoints import AnyModel, load_backbone, load_weights
from training.models.promptable import PromptableModel
from training.models.whole_image import WholeImageModel
from training.objectives import build_objective
from training.predictor import Predictor

log = logging.getLogger(__name__)

INTERRUPTED = 130


def train(config: TrainConfig, *, resume: bool) -> bool:
    """Trains a model, in this process or, where torch.distributed is set up, in its share of several.

    Args:
        config: What to learn, and where to write: ``config.yaml``, ``metrics.jsonl`` and checkpoints in its ``output``.
        resume: Goes on from the newest checkpoint there; else the folder must have none.

    Returns:
        Whether all steps are done; False after Ctrl-C.

    Raises:
        FileExistsError: when the folder has checkpoints, and ``resume`` is False.
        ValueError, FileNotFoundError, ImportError: when the configuration cannot work, before anything is written.
        FloatingPointError: when the loss is not finite.
    """
    run: Callable[[Trainer], bool] = Trainer.run
    if config.engine == "detectron2":
        from training.engine.detectron2 import run_with_detectron2

        run = partial(run_with_detectron2, output=Path(config.output), log_every=config.log_every)
    trainer = build_trainer(config, resume=resume)
    output = Path(config.output)
    if comm.is_main():
        with atomic_file(Path(config.output) / "config.yaml") as temporary:
            # JSON is YAML, and what is in checkpoints.
            temporary.write_text(json.dumps(to_plain(config), indent=2) + "\n", encoding="utf-8")
    finished = run(trainer)
    if comm.is_main():
        said = "done: the model is %s" if finished else "stopped; --resume goes on from %s"
        log.info(said, Checkpoints(output, {}, keep=1).last())
    return finished


def train_attempt(attempt: int, *, config: TrainConfig, resume: bool) -> int:
    """One attempt of a group of processes to train; those after the first go on from the newest checkpoint.

    Returns:
        An exit code: 0 when all steps are done, 130 after Ctrl-C.

    Raises:
        Exception: as :func:`train`.
    """
    if attempt and comm.is_main():
        log.info("attempt %d", attempt + 1)
    return 0 if train(config, resume=resume or attempt > 0) else INTERRUPTED


def evaluate(config: TrainConfig) -> list[Report]:
    """Measures the model of ``config.weights`` on the data sets of ``config.evaluation``, in this process.

    Raises:
        ValueError, FileNotFoundError: when there is no data set, or one of them is not there.
        CheckpointError: when the weights cannot be read or are of another architecture.
    """
    evaluators = build_evaluators(config)
    if not evaluators:
        raise ValueError("evaluation.data must name at least one data set")
    asked = asker(build_model(config), config, choose_device(config.device))
    return [evaluator.report(evaluator.predictions(asked)) for evaluator in evaluators]


def register_with_detectron2(config: TrainConfig, *, name: str = "WholeImageSegmenter") -> None:
    """Makes the model and the data of a configuration known to detectron2, for tools of its own.

    Args:
        config: Its ``data.train`` become data sets of the same names.
        name: Of the model, for ``MODEL.META_ARCHITECTURE``.

    Raises:
        ImportError: when detectron2 is not installed.
        ValueError, FileNotFoundError: when a data set is not there, or the model is one that has to be asked.
    """
    from training.engine.detectron2 import MetaArchitecture, register_model, register_source

    if config.task != "whole_image":
        raise ValueError(f"task must be whole_image: detectron2's tools give a model images alone; got {config.task}")

    def build(cfg: Any) -> nn.Module:
        model = build_model(config)
        predict = Predictor(model, config.inference, device=cfg.MODEL.DEVICE)
        return MetaArchitecture(model, build_objective(config), predict, image_format=cfg.INPUT.FORMAT)

    for data_set in config.data.train:
        register_source(data_set, open_source(data_set))
    register_model(name, build)


def build_trainer(config: TrainConfig, *, resume: bool) -> Trainer:
    """The trainer of this process; arguments and errors as for :func:`train`."""
    output = Path(config.output)
    device = choose_device(config.device)
    # What is quickly found to be wrong comes first.
    loader = build_loader(config)
    contents = loader.source.contents()
    plain = to_plain(config)
    checkpoints = Checkpoints(
        output, {**plain, "data": {**plain["data"], "contents": contents}}, keep=config.keep_checkpoints
    )
    if not resume:
        checkpoints.require_none()
    evaluators = build_evaluators(config)
    # Where the run began is in the checkpoint that it goes on from: the files of then need not be there any more.
    model = (new_model(config) if resume and checkpoints.last() else build_model(config)).to(device)
    metrics = MetricsFile(output / METRICS)
    progress: list[Callable[[Line], None]] = []
    boards: list[Callable[[Line], None]] = []
    if comm.is_main():
        parameters = sum(parameter.numel() for parameter in model.parameters())
        log.info("%s from %s; %s weights on %s", contents, loader.source.name, f"{parameters:,}", device)
        progress, boards = [ProgressLine(config.optim.steps)], [*tensorboard(output)]
    hooks: list[Hook] = [
        LogHook(metrics, every=config.log_every, tell=[*progress, *boards]),
        CheckpointHook(checkpoints, every=config.checkpoint_every),
    ]
    if evaluators:
        measure = build_measure(config, model, evaluators)
        hooks.append(EvaluationHook(measure, metrics, every=config.evaluation.every, tell=boards))
    trainer = Trainer(
        model,
        build_objective(config),
        loader,
        build_optimiser(model, config.optim),
        config.optim,
        seed=config.seed,
        hooks=hooks,
    )
    if resume:
        resume_from(trainer, checkpoints)
    return trainer


def new_model(config: TrainConfig) -> AnyModel:
    """The model of the task, on the CPU; its weights are random and depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return PromptableModel(config.promptable) if config.task == "promptable" else WholeImageModel(config.model)


def build_model(config: TrainConfig) -> AnyModel:
    """The model that training starts from: a new one, with the weights that it is to start from where there are some.

    Raises:
        CheckpointError: when these cannot be read or are of another architecture.
    """
    model = new_model(config)
    if config.weights:
        report = load_weights(model, config.weights)
        log.info("model: %d weights from %s", len(report.loaded), config.weights)
    elif config.backbone_weights:
        report = load_backbone(model, config.backbone_weights)
        log.info("backbone: %d weights from %s", len(report.loaded), config.backbone_weights)
    elif model.config.backbone == "resnet50" and model.config.resnet.frozen_norm:
        log.warning(
            "resnet50 starts from random weights, and its norms are frozen as they are: give backbone_weights or "
            "weights, or set %s.resnet.frozen_norm=false",
            model.config.SECTION,
        )
    return model


def build_loader(config: TrainConfig) -> TrainLoader:
    """The batches of this process.

    Raises:
        ValueError: when the batch cannot be shared evenly, and as :func:`training.data.catalog.open_sources` does.
        FileNotFoundError: when a data set is not there.
    """
    share, rest = divmod(config.optim.batch_size, comm.world_size())
    if rest:
        raise ValueError(
            f"optim.batch_size must be a multiple of the {comm.world_size()} processes, got {config.optim.batch_size}"
        )
    return TrainLoader(
        open_sources(config.data.train),
        Mapper(config.data, config.seed),
        batch_size=share,
        rank=comm.rank(),
        world_size=comm.world_size(),
        workers=config.data.workers,
        max_skipped=config.data.max_skipped,
        seed=config.seed,
    )

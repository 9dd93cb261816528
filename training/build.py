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
from training.config import LossConfig, TrainConfig
from training.data.catalog import locate, open_source, open_sources
from training.data.loader import TrainLoader
from training.data.mapper import Mapper
from training.data.randomness import Purpose, generator
from training.engine import comm
from training.engine.checkpoint import Checkpoints
from training.engine.hooks import CheckpointHook, EvaluationHook, resume_from
from training.engine.metrics import METRICS, MetricsFile
from training.engine.optim import build_optimiser
from training.engine.run_log import Line, LogHook, ProgressLine, tensorboard
from training.engine.trainer import Hook, Objective, Trainer
from training.evaluation.coco import CocoEvaluator
from training.evaluation.report import CocoReport
from training.models.checkpoints import load_backbone, load_weights
from training.models.criterion import Criterion
from training.models.points import LossPoints, draw_points
from training.models.whole_image import WholeImageModel
from training.predictor import Predictor
from training.samples import Batch, Losses

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
    if comm.is_main():
        with atomic_file(Path(config.output) / "config.yaml") as temporary:
            # JSON is YAML, and what is in checkpoints.
            temporary.write_text(json.dumps(to_plain(config), indent=2) + "\n", encoding="utf-8")
    return run(trainer)


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


def evaluate(config: TrainConfig) -> list[CocoReport]:
    """Measures the model of ``config.weights`` on the data sets of ``config.evaluation``, in this process.

    Raises:
        ValueError, FileNotFoundError: when there is no data set, or one of them is not there.
        CheckpointError: when the weights cannot be read or are of another architecture.
    """
    evaluators = build_evaluators(config)
    if not evaluators:
        raise ValueError("evaluation.data must name at least one data set")
    predict = Predictor(build_model(config), config.inference, device=choose_device(config.device))
    return [evaluator.report(evaluator.predictions(predict)) for evaluator in evaluators]


def register_with_detectron2(config: TrainConfig, *, name: str = "WholeImageSegmenter") -> None:
    """Makes the model and the data of a configuration known to detectron2, for tools of its own.

    Args:
        config: Its ``data.train`` become data sets of the same names.
        name: Of the model, for ``MODEL.META_ARCHITECTURE``.

    Raises:
        ImportError: when detectron2 is not installed.
        ValueError, FileNotFoundError: when a data set is not there.
    """
    from training.engine.detectron2 import MetaArchitecture, register_model, register_source

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
    checkpoints = Checkpoints(output, to_plain(config), keep=config.keep_checkpoints)
    if not resume:
        checkpoints.require_none()
    model = build_model(config).to(choose_device(config.device))
    metrics = MetricsFile(output / METRICS)
    tell: list[Callable[[Line], None]] = []
    if comm.is_main():
        tell = [ProgressLine(config.optim.steps), *tensorboard(output)]
    hooks: list[Hook] = [
        LogHook(metrics, every=config.log_every, tell=tell),
        CheckpointHook(checkpoints, every=config.checkpoint_every),
    ]
    if config.evaluation.data:
        hooks.append(EvaluationHook(build_evaluation(config, model), metrics, every=config.evaluation.every))
    trainer = Trainer(
        model,
        build_objective(config),
        build_loader(config),
        build_optimiser(model, config.optim),
        config.optim,
        seed=config.seed,
        hooks=hooks,
    )
    if resume:
        resume_from(trainer, checkpoints)
    return trainer


def build_model(config: TrainConfig) -> WholeImageModel:
    """The model that training starts from, on the CPU; its random weights depend on the seed alone.

    Raises:
        CheckpointError: when the weights that it is to start from cannot be read or are of another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = WholeImageModel(config.model)
    if config.weights:
        load_weights(model, config.weights)
    elif config.backbone_weights:
        report = load_backbone(model, config.backbone_weights)
        log.info("backbone: %d weights from %s", len(report.loaded), config.backbone_weights)
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


def build_objective(config: TrainConfig) -> Objective:
    """What training lowers: the losses at points that are drawn for each image from the seed and its position."""
    criterion = Criterion(config.loss)

    def objective(model: nn.Module, batch: Batch) -> Losses:
        output = model(batch.images_BCHW, sizes_hw=batch.sizes_hw, deep_supervision=True)
        points = [_points(config.loss, config.seed, position) for position in batch.positions]
        return criterion.at_points(output, batch.targets, points)

    return objective


def build_evaluation(config: TrainConfig, model: nn.Module) -> Callable[[], dict[str, float]]:
    """What measures a model on the data sets of ``config.evaluation``; every process takes its share of the images.

    The reports are written into ``config.output`` as ``<data set>.json``, over those of before.

    Raises:
        ValueError, FileNotFoundError: when a data set is not there, or has no annotations in COCO's format.
    """
    evaluators = build_evaluators(config)

    def measure() -> dict[str, float]:
        predict = Predictor(model, config.inference, device=next(model.parameters()).device)
        scalars: dict[str, float] = {}
        for evaluator in evaluators:
            share = list(evaluator.predictions(predict, rank=comm.rank(), world_size=comm.world_size()))
            predictions = comm.gathered(share)
            if comm.is_main():
                report = evaluator.report(predictions)
                log.info("%s", report.table())
                _write(report.to_dict(), Path(config.output) / f"{evaluator.name.replace('/', '_')}.json")
                scalars |= report.scalars()
        return scalars

    return measure


def build_evaluators(config: TrainConfig) -> list[CocoEvaluator]:
    """An evaluator of each data set of ``config.evaluation``."""
    evaluators = []
    for name in config.evaluation.data:
        found = locate(name)
        if found.format != "coco":
            raise ValueError(
                f"evaluation.data must name annotations in COCO's format, {name} is of format {found.format}"
            )
        evaluators.append(
            CocoEvaluator(
                found.annotations,
                images_root=found.images,
                images=config.evaluation.images,
                max_dets=config.evaluation.max_dets,
                name=found.name,
            )
        )
    return evaluators


def device_type(name: str) -> str:
    """``cuda``, ``mps`` or ``cpu`` for the ``device`` of a configuration; ``auto`` takes a GPU where there is one."""
    if name != "auto":
        return torch.device(name).type
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def choose_device(name: str) -> torch.device:
    """The device of this process: of several with GPUs, each has its own.

    Args:
        name: As for :func:`device_type`.
    """
    kind = device_type(name)
    if kind != "cuda":
        return torch.device(kind)
    device = torch.device("cuda", torch.device(name).index if ":" in name else comm.local_rank())
    torch.cuda.set_device(device)
    return device


def _points(config: LossConfig, seed: int, position: int) -> LossPoints:
    drawn = int(generator(seed, position, Purpose.POINTS).integers(2**63))
    return draw_points(config, torch.Generator().manual_seed(drawn))


def _write(report: dict[str, Any], path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

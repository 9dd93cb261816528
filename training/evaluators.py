"""What measures a model while it trains, and afterwards: the data sets of a configuration."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dico.atomic import atomic_file
from training.config import EvaluationConfig, TrainConfig
from training.data.catalog import locate, open_source
from training.engine import comm
from training.evaluation.base import Evaluator
from training.evaluation.coco import CocoEvaluator
from training.evaluation.point_iou import PointEvaluator
from training.models.checkpoints import AnyModel
from training.models.promptable import PromptableModel
from training.predictor import Predictor
from training.prompt_predictor import PromptPredictor

log = logging.getLogger(__name__)

AnyEvaluator = Evaluator[Any, Any]
"""One of masks or of clicks; it measures what :func:`asker` makes of a model of the same task."""


def build_evaluators(config: TrainConfig) -> list[AnyEvaluator]:
    """An evaluator of each data set of ``config.evaluation``: of all masks, or of one click for ``task=promptable``.

    Raises:
        ValueError, FileNotFoundError: when a data set is not there, has annotations that the task cannot be measured
            with, or another's name.
    """
    build = _of_one_click if config.task == "promptable" else _of_all_masks
    evaluators = [build(name, config.evaluation) for name in config.evaluation.data]
    twins = [name for name, times in Counter(evaluator.name for evaluator in evaluators).items() if times > 1]
    if twins:
        raise ValueError(
            f"evaluation.data must have names of their own, got {', '.join(twins)} more often; a YAML file names a data"
            " set (see datasets/README.md)"
        )
    return evaluators


def asker(model: AnyModel, config: TrainConfig, device: torch.device) -> Predictor | PromptPredictor:
    """A model as the evaluators of its configuration ask it.

    Args:
        model: Of the configuration's task; put on the device.
        config: At which size and precision it sees images, and how large a click is.
        device: Where it computes.
    """
    if isinstance(model, PromptableModel):
        return PromptPredictor(model, config.inference, click_px=config.prompts.click_px, device=device)
    return Predictor(model, config.inference, device=device)


def build_measure(
    config: TrainConfig, model: AnyModel, evaluators: Sequence[AnyEvaluator]
) -> Callable[[], dict[str, float]]:
    """What measures a model; every process takes its share of the images.

    The reports are written into ``config.output`` as ``<data set>.json``, over those of before.
    """

    def measure() -> dict[str, float]:
        asked = asker(model, config, next(model.parameters()).device)
        scalars: dict[str, float] = {}
        for evaluator in evaluators:
            share = list(evaluator.predictions(asked, rank=comm.rank(), world_size=comm.world_size()))
            predictions = comm.gathered(share)
            if comm.is_main():
                report = evaluator.report(predictions)
                log.info("%s", report.table())
                _write(report.to_dict(), Path(config.output) / f"{evaluator.name.replace('/', '_')}.json")
                scalars |= report.scalars()
        return scalars

    return measure


def _of_all_masks(data_set: str, config: EvaluationConfig) -> AnyEvaluator:
    found = locate(data_set)
    if found.format != "coco":
        raise ValueError(
            f"evaluation.data must name annotations in COCO's format, {data_set} is of format {found.format}"
        )
    return CocoEvaluator(
        found.annotations, images_root=found.images, images=config.images, max_dets=config.max_dets, name=found.called
    )


def _of_one_click(data_set: str, config: EvaluationConfig) -> AnyEvaluator:
    # How many clicks it takes would need up to twenty answers: tools/evaluate.py counts them.
    source, name = open_source(data_set), locate(data_set).called
    return PointEvaluator(source, images=config.images, most_clicks=1, name=name)


def _write(report: dict[str, Any], path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

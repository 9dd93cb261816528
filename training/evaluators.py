"""What measures a model while it trains, and afterwards: the data sets of a configuration."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dico.atomic import atomic_file
from training.config import TrainConfig
from training.data.catalog import locate
from training.engine import comm
from training.evaluation.coco import CocoEvaluator
from training.predictor import Predictor

log = logging.getLogger(__name__)


def build_evaluators(config: TrainConfig) -> list[CocoEvaluator]:
    """An evaluator of each data set of ``config.evaluation``.

    Raises:
        ValueError, FileNotFoundError: when a data set is not there, has no annotations in COCO's format, or another's
            name.
    """
    if config.evaluation.data and config.task != "whole_image":
        raise ValueError(
            "evaluation.data must be empty for task=promptable; measure its model with tools/evaluate.py --task point"
        )
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
    twins = [name for name, times in Counter(evaluator.name for evaluator in evaluators).items() if times > 1]
    if twins:
        raise ValueError(
            f"evaluation.data must have names of their own, got {', '.join(twins)} more often; a YAML file names a data"
            " set (see datasets/README.md)"
        )
    return evaluators


def build_measure(
    config: TrainConfig, model: nn.Module, evaluators: Sequence[CocoEvaluator]
) -> Callable[[], dict[str, float]]:
    """What measures a model; every process takes its share of the images.

    The reports are written into ``config.output`` as ``<data set>.json``, over those of before.
    """

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


def _write(report: dict[str, Any], path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

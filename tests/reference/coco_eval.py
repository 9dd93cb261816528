"""The figures of stock pycocotools, blind to classes, at chosen budgets."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dico.masks import MaskSet


def run_coco_eval(
    annotations: Mapping[str, Any], predictions: Mapping[int, MaskSet], max_dets: tuple[int, ...]
) -> COCOeval:
    """COCOeval, evaluated and accumulated."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dict(annotations))
        truth.createIndex()
        found = []
        for image_id, masks in predictions.items():
            for rle, score in zip(masks.to_rle_dicts(), masks.score.tolist(), strict=True):
                found.append({"image_id": image_id, "category_id": 1, "segmentation": rle, "score": score})
        evaluation = COCOeval(truth, truth.loadRes(found), "segm")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = list(max_dets)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def coco_figures(
    annotations: Mapping[str, Any], predictions: Mapping[int, MaskSet], max_dets: tuple[int, ...]
) -> dict[int, dict[str, float]]:
    """AR, AP and AP50 by budget and area range, in percent; NaN where COCOeval says -1."""
    evaluation = run_coco_eval(annotations, predictions, max_dets)
    figures: dict[int, dict[str, float]] = {}
    for m, max_det in enumerate(max_dets):
        figures[max_det] = {}
        for a, suffix in enumerate(("", "_small", "_medium", "_large")):
            recall = evaluation.eval["recall"][:, 0, a, m]
            precision = evaluation.eval["precision"][:, :, 0, a, m]
            figures[max_det]["ar" + suffix] = 100 * recall.mean() if recall.max() > -1 else np.nan
            figures[max_det]["ap" + suffix] = 100 * precision.mean() if precision.max() > -1 else np.nan
            if not suffix:
                figures[max_det]["ap50"] = 100 * precision[0].mean() if precision.max() > -1 else np.nan
    return figures

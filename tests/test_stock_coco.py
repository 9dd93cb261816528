"""Ours, pycocotools and faster-coco-eval give the same figures; a tool that does not is not used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dico.evaluate import evaluate_masks
from dico.ground_truth import load_annotations
from dico.masks import MaskSet
from dico.stock_coco import Engine, faster_engine, fastest_engine, pycocotools_engine, stock_figures
from tests.coco_cases import random_case, with_polygons, write
from tests.reference.coco_eval import coco_figures

BUDGETS = (3, 100, 1000)


def required_faster_engine() -> Engine:
    pytest.importorskip("faster_coco_eval")
    engine = faster_engine()
    assert engine
    return engine


@pytest.mark.parametrize("engine_of", [pycocotools_engine, required_faster_engine])
@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equal_figures(tmp_path: Path, engine_of: Callable[[], Engine], seed: int, polygons: bool) -> None:
    """On crowds, ties, annotated areas that are not those of the masks, images without truths and without masks."""
    annotations, predictions = random_case(np.random.default_rng(seed), crowds=True, ties=seed % 2 == 0)
    path = write(tmp_path, with_polygons(annotations) if polygons else annotations)
    found = stock_figures(load_annotations(path), predictions.items(), BUDGETS, engine=engine_of())
    report = evaluate_masks(predictions.items(), path, max_dets=BUDGETS, resamples=0)
    assert found.largest_difference(report) < 1e-9
    for budget, expected in coco_figures(annotations, predictions, BUDGETS).items():
        assert found.budgets[budget] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("engine_of", [pycocotools_engine, required_faster_engine])
def test_without_predictions_and_without_truths(tmp_path: Path, engine_of: Callable[[], Engine]) -> None:
    annotations, predictions = random_case(np.random.default_rng(0))
    path = write(tmp_path, annotations)
    nothing_found = stock_figures(load_annotations(path), [], BUDGETS, engine=engine_of())
    assert nothing_found.largest_difference(evaluate_masks([], path, max_dets=BUDGETS, resamples=0)) == 0
    path = write(tmp_path, {**annotations, "annotations": []})
    no_truths = stock_figures(load_annotations(path), predictions.items(), BUDGETS, engine=engine_of())
    assert np.isnan(no_truths.budgets[100]["ar"]) and np.isnan(no_truths.budgets[100]["ap50"])
    report = evaluate_masks(predictions.items(), path, max_dets=BUDGETS, resamples=0)
    assert no_truths.largest_difference(report) == 0


def test_difference_is_found(tmp_path: Path) -> None:
    annotations, predictions = random_case(np.random.default_rng(1), n_images=3)
    path = write(tmp_path, annotations)
    found = stock_figures(load_annotations(path), predictions.items(), (100,))
    worse = {image_id: masks[::2] for image_id, masks in predictions.items()}
    report = evaluate_masks(worse.items(), path, max_dets=(100,), resamples=0)
    assert found.largest_difference(report) >= abs(found.budgets[100]["ar"] - report.at(100).ar) > 0.1
    unknown = evaluate_masks([], write(tmp_path, {**annotations, "annotations": []}), max_dets=(100,), resamples=0)
    assert found.largest_difference(unknown) == np.inf
    with pytest.raises(KeyError, match="got 100"):
        found.largest_difference(evaluate_masks([], path, max_dets=(5,), resamples=0))


def test_faster_engine_is_used_where_it_is_installed() -> None:
    assert fastest_engine().name == required_faster_engine().name


class FindsALittleMore(COCOeval):  # type: ignore[misc]
    """Off by one ground truth in a hundred thousand."""

    def accumulate(self, p: Any = None) -> None:
        super().accumulate(p)
        self.eval["recall"][0, 0, 0, -1] += 1e-5


@pytest.mark.parametrize(("evaluation", "is_used"), [(FindsALittleMore, False), (COCOeval, True)])
def test_engine_that_differs_is_not_used(
    monkeypatch: pytest.MonkeyPatch, evaluation: type[COCOeval], is_used: bool
) -> None:
    module: Any = ModuleType("faster_coco_eval")
    module.COCO, module.COCOeval_faster = COCO, evaluation
    monkeypatch.setitem(sys.modules, "faster_coco_eval", module)
    monkeypatch.setattr("dico.stock_coco.version", lambda package: "1.0")
    assert fastest_engine().name == ("faster-coco-eval 1.0" if is_used else "pycocotools 1.0")


def test_pycocotools_where_the_other_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    assert fastest_engine().name == pycocotools_engine().name


def test_prediction_of_an_unknown_image_is_refused(tmp_path: Path) -> None:
    annotations, predictions = random_case(np.random.default_rng(1), n_images=2)
    images = load_annotations(write(tmp_path, annotations))
    predictions = {99: MaskSet.from_arrays(np.ones((1, 4, 4)))}
    with pytest.raises(ValueError, match="2 annotated images, got one of image 99"):
        stock_figures(images, predictions.items(), (100,))

"""What must hold of any evaluation: its definition, what cannot matter, and intervals that hold the truth."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_rle

from dico.evaluate import evaluate_masks, match_image, report_of
from dico.evaluation_report import EvalReport
from dico.ground_truth import AnnotatedImage, load_annotations
from dico.masks import MaskSet
from dico.matching import HIT, IOU_THRESHOLDS, MISS, NOT_FOUND
from dico.precision import ImageOutcome
from tests.coco_cases import SIZE_HW, random_case, with_polygons, write
from tests.reference.average_recall import Picture, average_recall

SMALL_PX, MEDIUM_PX = (0, 32**2), (32**2, 96**2)


# ---------------------------------------------------------------- the definition


def picture_of(image: AnnotatedImage, masks: MaskSet) -> Picture:
    return Picture(
        masks=list(masks.decode()),
        scores=masks.score.tolist(),
        truths=[np.asarray(coco_rle.decode(rle), dtype=bool) for rle in image.to_rle_dicts()],
        truth_areas=image.area_px.tolist(),
        crowds=image.is_crowd.tolist(),
    )


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_average_recall_equals_its_definition(tmp_path: Path, seed: int, ties: bool, crowds: bool) -> None:
    rng = np.random.default_rng(100 + seed)
    annotations, predictions = random_case(rng, n_images=3, crowds=crowds, ties=ties)
    path = write(tmp_path, with_polygons(annotations) if seed == 2 else annotations)
    nothing = MaskSet.empty(SIZE_HW)
    pictures = [picture_of(image, predictions.get(image.image_id, nothing)) for image in load_annotations(path)]
    report = evaluate_masks(predictions.items(), path, max_dets=(3, 100), resamples=0)
    for budget in (3, 100):
        figures = report.at(budget)
        assert figures.ar == pytest.approx(average_recall(pictures, budget), abs=1e-9)
        assert figures.ar_small == pytest.approx(average_recall(pictures, budget, SMALL_PX), abs=1e-9)
        assert figures.ar_medium == pytest.approx(average_recall(pictures, budget, MEDIUM_PX), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_recall_at_every_budget_follows_from_the_finders(tmp_path: Path, seed: int) -> None:
    annotations, predictions = random_case(np.random.default_rng(seed), crowds=True, ties=True)
    path = write(tmp_path, annotations)
    images = [image for image in load_annotations(path) if image.image_id in predictions]
    outcomes = [match_image(predictions[image.image_id], image, max_det=1000) for image in images]
    budgets = (1, 4, 9, 1000)
    report = report_of(outcomes, n_unlabelled=0, max_dets=budgets, resamples=0)
    for budget in budgets:
        found_T = sum(((o.finder_TG != NOT_FOUND) & (o.finder_TG < budget)).sum(axis=1) for o in outcomes)
        assert report.at(budget).ar == pytest.approx(100 * np.mean(found_T) / report.n_truths, abs=1e-9)


# ---------------------------------------------------------------- what must be perfect


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ground_truth_as_prediction_is_100(tmp_path: Path, seed: int, crowds: bool) -> None:
    annotations, _ = random_case(np.random.default_rng(seed), crowds=crowds)
    path = write(tmp_path, with_polygons(annotations))
    predictions = [(image.image_id, MaskSet.from_rles(SIZE_HW, image.rles)) for image in load_annotations(path)]
    figures = evaluate_masks(predictions, path, resamples=20).at(1000)
    assert figures.ar == figures.ar_small == 100
    assert figures.ap == pytest.approx(100) and figures.ap50 == pytest.approx(100)
    assert figures.ar_interval == (100, 100)


# ---------------------------------------------------------------- what cannot matter


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_order_of_images_and_masks_changes_nothing(tmp_path: Path, seed: int, crowds: bool) -> None:
    rng = np.random.default_rng(seed)
    annotations, predictions = random_case(rng, crowds=crowds)
    expected = evaluate_masks(predictions.items(), write(tmp_path, annotations), resamples=20)
    shuffled = [
        (i, predictions[i][rng.permutation(len(predictions[i]))]) for i in rng.permutation(list(predictions)).tolist()
    ]
    annotations["images"] = [annotations["images"][i] for i in rng.permutation(len(annotations["images"]))]
    report = evaluate_masks(shuffled, write(tmp_path, annotations), resamples=20)
    assert report.to_dict() == expected.to_dict()


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_results_of_several_workers_make_the_report_of_one(tmp_path: Path, n_workers: int) -> None:
    annotations, predictions = random_case(np.random.default_rng(8), crowds=True, ties=True)
    path = write(tmp_path, annotations)
    expected = evaluate_masks(predictions.items(), path, resamples=20)
    images = load_annotations(path)
    nothing = MaskSet.empty(SIZE_HW)
    results = {}
    for worker in reversed(range(n_workers)):
        part = {
            image.image_id: match_image(predictions.get(image.image_id, nothing), image, max_det=1000)
            for image in images[worker::n_workers]
        }
        results |= pickle.loads(pickle.dumps(part))
    in_order = [results[image_id] for image_id in sorted(results)]
    report = report_of(in_order, n_unlabelled=len(images) - len(predictions), resamples=20)
    assert report.to_dict() == expected.to_dict()


# ---------------------------------------------------------------- intervals


def random_outcome(rng: np.random.Generator) -> ImageOutcome:
    """An image whose truths are found or not as a hidden quality has it, that of the image weighing most."""
    n_truths = int(rng.integers(1, 15))
    iou_G = (rng.beta(4, 2) + rng.normal(0, 0.15, n_truths)).clip(0, 1)
    is_hit_TG = iou_G >= np.asarray(IOU_THRESHOLDS)[:, None]
    outcome_ATD = np.tile(np.where(is_hit_TG, HIT, MISS).astype(np.int8), (4, 1, 1))
    return ImageOutcome(
        n_masks=n_truths,
        score_D=np.sort(rng.random(n_truths))[::-1],
        outcome_ATD=outcome_ATD,
        finder_TG=np.where(is_hit_TG, np.arange(n_truths), NOT_FOUND),
        truths_A=np.array([n_truths, 0, 0, 0]),
    )


def report_of_random(outcomes: list[ImageOutcome], resamples: int) -> EvalReport:
    return report_of(outcomes, n_unlabelled=0, max_dets=(100,), resamples=resamples)


def test_interval_holds_the_truth_in_about_95_of_100_draws() -> None:
    """Images of a population whose AR is known are drawn again and again, and each draw gives an interval.

    Of 200 draws 190 +- 3 hold the truth if an interval is what it says; one of 90 % would hold it in 180 +- 4.
    """
    rng = np.random.default_rng(0)
    population = [random_outcome(rng) for _ in range(3000)]
    truth = report_of_random(population, 0).at(100).ar
    holds, widths, estimates = [], [], []
    for _ in range(200):
        drawn = [population[i] for i in rng.integers(0, len(population), 120)]
        figures = report_of_random(drawn, 200).at(100)
        low, high = figures.ar_interval
        holds.append(low <= truth <= high)
        widths.append(high - low)
        estimates.append(figures.ar)
    assert 183 <= sum(holds) <= 198
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(estimates), rel=0.15)

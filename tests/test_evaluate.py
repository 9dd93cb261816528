"""Evaluation equals pycocotools, its definition, and hand-made cases."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dico.evaluate import evaluate_masks, evaluate_store
from dico.evaluation_report import EvalReport
from dico.ground_truth import AnnotatedImage, image_ids_of_paths, load_annotations
from dico.masks import MaskSet
from tests.coco_cases import SIZE_HW, random_case, with_polygons, write
from tests.reference.coco_eval import coco_figures
from tests.stores import make_store

BUDGETS = (100, 350, 1000)
FIGURES = [f"{kind}{size}" for kind in ("ar", "ap") for size in ("", "_small", "_medium", "_large")] + ["ap50"]


def figures_of(report: EvalReport) -> dict[int, dict[str, float]]:
    return {f.max_masks: {name: getattr(f, name) for name in FIGURES} for f in report.budgets}


def assert_equal_figures(ours: dict[int, dict[str, float]], theirs: dict[int, dict[str, float]]) -> None:
    assert ours.keys() == theirs.keys()
    for budget in ours:
        for name in FIGURES:
            np.testing.assert_allclose(ours[budget][name], theirs[budget][name], atol=1e-9, err_msg=f"{name}@{budget}")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_equals_pycocotools(tmp_path: Path, seed: int, crowds: bool, ties: bool) -> None:
    annotations, predictions = random_case(np.random.default_rng(seed), crowds=crowds, ties=ties)
    for budgets in (BUDGETS, (1, 5, 12)):  # the second cuts
        report = evaluate_masks(predictions.items(), write(tmp_path, annotations), max_dets=budgets, resamples=0)
        assert_equal_figures(figures_of(report), coco_figures(annotations, predictions, budgets))


@pytest.mark.parametrize(
    ("annotations_of", "images"),
    [
        ("smoke/annotations.json", 8),
        ("bsds_train/annotations.json", 10),
        ("bsds_train/annotations_consensus.json", 10),
        ("coco_instances/annotations.json", 40),
        ("coco_panoptic/annotations.json", 15),
        ("parts/annotations.json", 15),
    ],
)
def test_equals_pycocotools_on_photographs(tmp_path: Path, dev_data: Path, annotations_of: str, images: int) -> None:
    annotations = json.loads((dev_data / annotations_of).read_text())
    annotations["images"] = annotations["images"][:: len(annotations["images"]) // images]
    chosen = {image["id"] for image in annotations["images"]}
    annotations["annotations"] = [one for one in annotations["annotations"] if one["image_id"] in chosen]
    path = write(tmp_path, annotations)
    rng = np.random.default_rng(0)
    predictions = {}
    for image in load_annotations(path):
        truths = MaskSet.from_rles(image.size_hw, image.rles)
        moved_NHW = np.roll(truths.decode(), rng.integers(0, 6), axis=1)
        both = MaskSet.concat([truths[::3], MaskSet.from_arrays(moved_NHW)])
        predictions[image.image_id] = both.with_fields(score=rng.random(len(both)))
    report = evaluate_masks(predictions.items(), path, resamples=0)
    assert 0 < report.at(1000).ap < report.at(1000).ar < 100
    assert_equal_figures(figures_of(report), coco_figures(annotations, predictions, BUDGETS))


def hand_made(tmp_path: Path) -> Path:
    """One image with two squares of 10 x 10 pixels, one image with none."""
    squares = np.zeros((2, 40, 40), dtype=np.uint8)
    squares[0, :10, :10] = squares[1, 20:30, 20:30] = 1
    annotations = [
        {
            "id": i,
            "image_id": 7,
            "category_id": 1,
            "segmentation": MaskSet.from_arrays(squares).to_coco()[i]["segmentation"],
        }
        for i in (0, 1)
    ]
    images = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 40} for i in (7, 8)]
    return write(tmp_path, {"images": images, "annotations": annotations})


def test_hand_made_recall_and_precision(tmp_path: Path) -> None:
    masks_NHW = np.zeros((3, 40, 40), dtype=bool)
    masks_NHW[0, :10, :8] = True  # IoU .8 with the first square: found at .50 to .80, 7 of 10 thresholds
    masks_NHW[1, 20:30, 20:26] = True  # IoU .6 with the second: found at .50 to .60, 3 of 10
    masks_NHW[2, 35:, 35:] = True
    masks = MaskSet.from_arrays(masks_NHW, score=[0.9, 0.5, 0.7])
    report = evaluate_masks([(7, masks)], hand_made(tmp_path), max_dets=(1, 1000), resamples=10)
    assert report.at(1000).ar == pytest.approx(100 * (0.7 + 0.3) / 2)
    assert report.at(1).ar == pytest.approx(100 * 0.7 / 2)
    # At .50 the order is hit, miss, hit: precision 1 up to recall .5 (51 recalls), 2/3 above (50 recalls).
    assert report.at(1000).ap50 == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert np.isnan(report.at(1000).ar_large)
    assert (report.n_images, report.n_unlabelled, report.n_truths, report.masks_per_image) == (2, 1, 2, 1.5)


def test_without_any_truth_nothing_is_known(tmp_path: Path) -> None:
    images = [{"id": i, "file_name": f"{i}.png", "height": 4, "width": 4} for i in (7, 8)]
    report = evaluate_masks([], write(tmp_path, {"images": images, "annotations": []}), resamples=10)
    assert report.n_truths == 0 and np.isnan(report.at(100).ar) and np.isnan(report.at(100).ar_interval).all()


def test_false_alarms_on_images_without_truth_lower_precision(tmp_path: Path) -> None:
    path = hand_made(tmp_path)
    right = MaskSet.from_rles((40, 40), load_annotations(path)[0].rles)
    wrong = MaskSet.from_arrays(np.ones((2, 40, 40), dtype=bool), score=[2.0, 2.0])
    alone = evaluate_masks([(7, right)], path, resamples=0).at(100)
    both = evaluate_masks([(7, right), (8, wrong)], path, resamples=0).at(100)
    assert alone.ap == pytest.approx(100) and both.ap == pytest.approx(50) and both.ar == 100


def test_areas_that_a_file_does_not_give_are_those_of_its_masks() -> None:
    masks = MaskSet.from_arrays(np.arange(12).reshape(3, 4) < np.arange(300)[:, None, None] % 12)
    annotations = [{"segmentation": one["segmentation"]} for one in masks.to_coco()]
    annotations[7]["area"] = 99
    areas = AnnotatedImage(1, "", (3, 4), tuple(annotations)).area_px.tolist()
    assert areas[7] == 99 and areas[:7] + areas[8:] == [n % 12 for n in range(300) if n != 7]


def test_no_predictions_at_all(tmp_path: Path) -> None:
    report = evaluate_masks([], hand_made(tmp_path), resamples=5)
    assert (report.at(100).ar, report.at(100).ap, report.n_unlabelled, report.masks_per_image) == (0, 0, 2, 0)


def test_polygons_and_uncompressed_codes_equal_pycocotools(tmp_path: Path) -> None:
    annotations, predictions = random_case(np.random.default_rng(9))
    with_polygons(annotations)
    report = evaluate_masks(predictions.items(), write(tmp_path, annotations), resamples=0)
    assert_equal_figures(figures_of(report), coco_figures(annotations, predictions, BUDGETS))


# ---------------------------------------------------------------- intervals


def test_interval_is_that_of_repeated_images(tmp_path: Path) -> None:
    """A resample by weights gives what copying the drawn images gives."""
    rng = np.random.default_rng(1)
    annotations, predictions = random_case(rng, n_images=4)
    report = evaluate_masks(predictions.items(), write(tmp_path, annotations), max_dets=(10,), resamples=1, seed=4)
    image_ids = sorted(image["id"] for image in annotations["images"])
    drawn = np.random.default_rng(4).multinomial(4, np.full(4, 0.25), size=1)[0]
    assert drawn.max() > 1
    copies: dict[str, Any] = {"images": [], "annotations": [], "categories": annotations["categories"]}
    copied = {}
    for image_id in np.repeat(image_ids, drawn).tolist():
        new_id = len(copies["images"]) + 1
        copies["images"].append({"id": new_id, "height": SIZE_HW[0], "width": SIZE_HW[1]})
        for one in annotations["annotations"]:
            if one["image_id"] == image_id:
                copies["annotations"].append({**one, "image_id": new_id, "id": len(copies["annotations"]) + 1})
        if image_id in predictions:
            copied[new_id] = predictions[image_id]
    expected = coco_figures(copies, copied, (10,))[10]
    assert report.at(10).ar_interval == pytest.approx((expected["ar"], expected["ar"]), abs=1e-9)
    assert report.at(10).ap_interval == pytest.approx((expected["ap"], expected["ap"]), abs=1e-9)


def test_intervals_are_seeded_and_hold_the_figure(tmp_path: Path) -> None:
    annotations, predictions = random_case(np.random.default_rng(2), n_images=12)
    path = write(tmp_path, annotations)
    one, same, other = (evaluate_masks(predictions.items(), path, seed=seed) for seed in (0, 0, 1))
    assert one.to_dict() == same.to_dict() != other.to_dict()
    for figures in one.budgets:
        assert figures.ar_interval[0] < figures.ar < figures.ar_interval[1]
        assert figures.ap_interval[0] < figures.ap < figures.ap_interval[1]


# ---------------------------------------------------------------- stores


def test_store_is_evaluated_on_every_annotated_image(tmp_path: Path) -> None:
    annotations, predictions = random_case(np.random.default_rng(6))
    predictions = {image_id: MaskSet.from_dict(masks.to_dict()) for image_id, masks in predictions.items()}  # as stored
    path = write(tmp_path, annotations)
    failed, unfinished = sorted(predictions)[:2]
    labels: dict[str, MaskSet | str | None] = {f"photos/{i}.jpg": masks for i, masks in predictions.items()}
    labels |= {f"photos/{failed}.jpg": "decode", f"photos/{unfinished}.jpg": None}
    labels["photos/not annotated.jpg"] = MaskSet.empty((3, 3))
    report = evaluate_store(make_store(tmp_path, labels), path, resamples=0)
    del predictions[failed], predictions[unfinished]
    assert report.n_images == len(annotations["images"])
    assert report.n_unlabelled == len(annotations["images"]) - len(predictions) >= 2
    assert_equal_figures(figures_of(report), coco_figures(annotations, predictions, BUDGETS))


def test_store_of_other_images_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path, {"other.jpg": MaskSet.empty((40, 40))})
    with pytest.raises(
        ValueError, match=r"no labelled image is among the .* that are to be evaluated.*7\.png.*other\.jpg"
    ):
        evaluate_store(store, hand_made(tmp_path))


# ---------------------------------------------------------------- reports


def test_table_and_dict(tmp_path: Path) -> None:
    masks = MaskSet.from_arrays(np.ones((1, 40, 40), dtype=bool))
    report = evaluate_masks([(7, masks)], hand_made(tmp_path), resamples=0)
    table = report.table()
    assert "2 images, 1 of them without labels; 0.5 masks an image; 2 ground truths (2 small, 0 medium" in table
    assert len({len(line) for line in table.splitlines()[3:]}) == 1 and len(table.splitlines()) == 7
    assert "Intervals over fewer than 10 images" in evaluate_masks([(7, masks)], hand_made(tmp_path)).table()
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [row["max_masks"] for row in plain["budgets"]] == [100, 350, 1000]
    assert plain["budgets"][0]["ar"] == 0 and plain["budgets"][0]["ar_large"] is None
    assert plain["budgets"][0]["ar_interval"] == [None, None]
    with pytest.raises(KeyError, match=r"one of \[100, 350, 1000\], got 10"):
        report.at(10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.n_images = 3  # type: ignore[misc]


# ---------------------------------------------------------------- errors


def test_bad_predictions_are_refused(tmp_path: Path) -> None:
    path, masks = hand_made(tmp_path), MaskSet.empty((40, 40))
    with pytest.raises(ValueError, match="got 99"):
        evaluate_masks([(99, masks)], path)
    with pytest.raises(ValueError, match="image 7 twice"):
        evaluate_masks([(7, masks), (7, masks)], path)
    with pytest.raises(ValueError, match=r"7\.png.*resized or a rotated copy"):
        evaluate_masks([(7, MaskSet.empty((20, 20)))], path)
    with pytest.raises(ValueError, match=r"masks of image 7 \(7\.png\): rle must cover the pixels.*got 1 pixels"):
        evaluate_masks([(7, MaskSet.from_rles((40, 40), [b"1"]))], path)
    with pytest.raises(ValueError, match="max_dets"):
        evaluate_masks([], path, max_dets=(0, 10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("annotations"), "must be a COCO annotation file"),
        (lambda a: a["images"].clear(), "at least one image"),
        (lambda a: a["images"].append(a["images"][0]), "id of its own"),
        (lambda a: a["annotations"][0].update(image_id=99), "of image 99"),
        (lambda a: a["images"][0].pop("height"), "is not a COCO annotation file, or is damaged .*height"),
        (lambda a: a["images"].append(3), "is not a COCO annotation file, or is damaged"),
        (lambda a: a["annotations"][0].pop("image_id"), "is not a COCO annotation file, or is damaged .*image_id"),
        (lambda a: a["annotations"][0].update(segmentation=[]), "no segmentation"),
        (lambda a: a["images"][0].update(height=41), "mask of .*40, 40.* but its image"),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, change: Callable[[Any], Any], message: str) -> None:
    path = hand_made(tmp_path)
    annotations = json.loads(path.read_text())
    change(annotations)
    path.write_text(json.dumps(annotations))
    with pytest.raises(ValueError, match=message):
        [image.to_rle_dicts() for image in load_annotations(path)]


def test_annotations_that_are_not_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        load_annotations(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError):
        load_annotations(tmp_path / "missing.json")


# ---------------------------------------------------------------- file names


def annotated(*names: str) -> Any:
    return [AnnotatedImage(image_id=i, file_name=name, size_hw=(1, 1), annotations=()) for i, name in enumerate(names)]


def test_paths_are_found_by_base_name_and_folders_decide() -> None:
    assert image_ids_of_paths(annotated("1.jpg", "2.jpg"), ["x/2.jpg", "1.jpg", "3.jpg"]) == {"1.jpg": 0, "x/2.jpg": 1}
    assert image_ids_of_paths(annotated("a/1.jpg", "b/1.jpg"), ["t/a/1.jpg", "t/b/1.jpg"]) == {
        "t/a/1.jpg": 0,
        "t/b/1.jpg": 1,
    }
    assert image_ids_of_paths(annotated("1.jpg"), ["1.jpg", "b/1.jpg"]) == {"1.jpg": 0}
    assert image_ids_of_paths(annotated("val/1.jpg"), ["1.jpg"]) == {"1.jpg": 0}
    assert image_ids_of_paths(annotated("ü b.jpg", "é.jpg"), ["ü b.jpg"]) == {"ü b.jpg": 0}


def test_ambiguous_and_foreign_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.jpg \(a/1\.jpg, b/1\.jpg\).*label the annotated folder alone"):
        image_ids_of_paths(annotated("1.jpg"), ["a/1.jpg", "b/1.jpg"])
    with pytest.raises(ValueError, match=r"share one.*b/1\.jpg"):
        image_ids_of_paths(annotated("a/1.jpg", "b/1.jpg"), ["1.jpg"])
    with pytest.raises(ValueError, match=r"such as \['1\.jpg'\], the labels are of \['2\.jpg'\]"):
        image_ids_of_paths(annotated("1.jpg"), ["2.jpg"])


def test_images_that_only_an_address_names(tmp_path: Path) -> None:
    """As in LVIS, whose images are in two folders of COCO."""
    path = tmp_path / "lvis.json"
    sizes = {"height": 4, "width": 6}
    images = [{"id": 1, "coco_url": "http://images.cocodataset.org/val2017/7.jpg", **sizes}, {"id": 2, **sizes}]
    path.write_text(json.dumps({"images": images, "annotations": []}))
    assert [image.file_name for image in load_annotations(path)] == ["val2017/7.jpg", ""]

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from dico.evaluate import evaluate_masks
from dico.ground_truth import load_annotations
from dico.masks import MaskSet
from tests.conftest import bright_labeler
from tests.training.annotated import write_annotated
from training.evaluation.coco import CocoEvaluator, evenly_spaced


def only_first(image):
    return bright_labeler(image)[:1]


def test_a_perfect_model_finds_everything(tmp_path):
    evaluator = CocoEvaluator(write_annotated(tmp_path / "drawn"))
    report = evaluator.report(evaluator.predictions(bright_labeler))
    assert evaluator.name == "drawn"
    assert report.scalars() == {f"drawn/{kind}@{n}": pytest.approx(100.0) for kind in ("AR", "AP") for n in (100, 1000)}
    assert "drawn: 5 images; 3.0 masks an image" in report.table()


def test_figures_are_those_of_dico_eval(tmp_path):
    path = write_annotated(tmp_path)
    evaluator = CocoEvaluator(path, max_dets=(1, 2), name="some")
    predictions = list(evaluator.predictions(only_first))
    report = evaluator.report(predictions)
    expected = evaluate_masks(predictions, path, max_dets=(1, 2)).to_dict()
    assert json.loads(json.dumps(report.to_dict())) == json.loads(
        json.dumps({"name": "some", "task": "coco", **expected})
    )
    assert 0 < report.scalars()["some/AR@1"] < 50


def test_shares_of_all_ranks_are_all_images(tmp_path):
    evaluator = CocoEvaluator(write_annotated(tmp_path))
    shares = [list(evaluator.predictions(only_first, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(len(share) for share in shares) == [1, 2, 2]
    ids = [image_id for share in shares for image_id, _ in share]
    assert sorted(ids) == [image.image_id for image in evaluator.images]
    gathered = evaluator.report([pair for share in reversed(shares) for pair in share])
    assert gathered.to_dict() == evaluator.report(evaluator.predictions(only_first)).to_dict()
    with pytest.raises(ValueError, match="rank must be within 0 and world_size - 1 = 1, got 2"):
        next(evaluator.predictions(only_first, rank=2, world_size=2))


def test_some_images_evenly_spaced(tmp_path):
    images = load_annotations(write_annotated(tmp_path))
    assert [image.image_id for image in evenly_spaced(images, 2)] == [96, 98]
    assert evenly_spaced(images, 0) == evenly_spaced(images, 9) == images
    evaluator = CocoEvaluator(tmp_path / "annotations.json", images=2)
    assert evaluator.report(evaluator.predictions(only_first)).figures.n_images == 2
    with pytest.raises(ValueError, match="images must be at least 0, got -1"):
        CocoEvaluator(tmp_path / "annotations.json", images=-1)
    with pytest.raises(ValueError, match="max_dets must hold integers from 1"):
        CocoEvaluator(tmp_path / "annotations.json", max_dets=())


def test_where_the_images_are(tmp_path):
    beside = CocoEvaluator(write_annotated(tmp_path / "a", images="."))
    elsewhere = CocoEvaluator(write_annotated(tmp_path / "b", images="photos"), images_root=tmp_path / "b" / "photos")
    moved = write_annotated(tmp_path / "c", images=".")
    (tmp_path / "c" / "annotations").mkdir()
    above = CocoEvaluator(moved.rename(tmp_path / "c" / "annotations" / moved.name))
    for evaluator in (beside, elsewhere, above):
        assert len(list(evaluator.predictions(only_first))) == 5


def test_a_missing_image_is_found_before_any_work(tmp_path):
    path = write_annotated(tmp_path)
    (tmp_path / "images" / "03.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 5 images of .*annotations\.json are not in .*images, such as 03\.png"
    ):
        CocoEvaluator(path)
    content = json.loads(path.read_text())
    del content["images"][4]["file_name"]
    path.write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match=r"2 of 5 images .* such as image 96, which has no file_name"):
        CocoEvaluator(path)


def test_a_copy_of_another_size_is_found_before_any_work(tmp_path):
    path = write_annotated(tmp_path)
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["width"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"04\.png has \(48, 64\) pixels .* but \(48, 128\) in the annotations"):
        CocoEvaluator(path)


def test_bad_images_count_as_images_without_masks(tmp_path, caplog):
    path = write_annotated(tmp_path)
    content = json.loads(path.read_text())
    content["images"][1]["height"] += 1
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != content["images"][1]["id"]]
    path.write_text(json.dumps(content))
    (tmp_path / "images" / "00.png").write_bytes(b"no image")
    evaluator = CocoEvaluator(path)
    with caplog.at_level(logging.WARNING):
        predictions = list(evaluator.predictions(bright_labeler))
    assert len(predictions) == 3 and evaluator.report(predictions).figures.n_unlabelled == 2
    assert "00.png is not an image" in caplog.text and "01.png has (60, 40) pixels" in caplog.text


def test_what_is_not_known_is_left_out_of_the_log(tmp_path):
    path = write_annotated(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    evaluator = CocoEvaluator(path, max_dets=(10,))
    predictions = [(image.image_id, MaskSet.empty(image.size_hw)) for image in evaluator.images]
    report = evaluator.report(predictions)
    assert report.scalars() == {} and report.to_dict()["budgets"][0]["ar"] is None
    assert np.isnan(report.figures.at(10).ar)

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage

from dico.cli import main as dico
from dico.masks import MaskSet
from dico.store import MaskStore
from tests.conftest import bright_labeler
from tests.training.annotated import write_annotated
from tests.training.asked import small_model
from training.config import InferenceConfig
from training.data.coco_source import CocoSource
from training.data.sources import StoreSource
from training.evaluation.point_iou import PointEvaluator
from training.evaluation.running.point_work import of_labels
from training.prompt_predictor import PromptPredictor


def box_mask(x0, y0, x1, y1, size_hw=(20, 30)):
    mask_HW = np.zeros(size_hw, dtype=bool)
    mask_HW[y0:y1, x0:x1] = True
    return mask_HW


class Knowing:
    """Gives the smallest known mask at the first click, and better ones with more clicks."""

    def __init__(self, truths_of, helps=True):
        self._truths_of, self._helps, self.asked = truths_of, helps, []

    def set_image(self, image):
        self._truths_NHW = self._truths_of(image).decode()

    def masks(self, points, labels):
        self.asked.append((points, labels))
        for points_K2, labels_K in zip(points, labels, strict=True):
            (x, y), size_hw = points_K2[0], self._truths_NHW.shape[1:]
            assert labels_K[0] == 1
            under = [mask_HW for mask_HW in self._truths_NHW if mask_HW[y, x]]
            best = min(under, key=np.count_nonzero)
            # The mask that it thinks best is cut off below a row, farther down after each click.
            rows = np.flatnonzero(best.any(axis=1))
            cut = rows[0] + 1 + (len(points_K2) - 1 if self._helps else 0) * 4
            worse = best & (np.arange(size_hw[0]) < cut)[:, None]
            yield MaskSet.from_arrays(np.stack([worse, best]), score=[0.9, 0.5])


@pytest.fixture
def source(tmp_path):
    return CocoSource(write_annotated(tmp_path / "drawn"), name="drawn")


def test_one_click(source):
    evaluator = PointEvaluator(source, most_clicks=1)
    outcomes = list(evaluator.predictions(Knowing(bright_labeler)))
    report = evaluator.report(outcomes)
    assert report.n_images == 5 and report.n_truths == 15 and not report.clicks
    for outcome, record in zip(outcomes, evaluator.records, strict=True):
        truths_NHW = record.read_masks().decode()
        for g, truth_HW in enumerate(truths_NHW):
            depth_HW = ndimage.distance_transform_edt(np.pad(truth_HW, 1))[1:-1, 1:-1]
            y, x = np.unravel_index(depth_HW.argmax(), depth_HW.shape)
            best = min((mask for mask in truths_NHW if mask[y, x]), key=np.count_nonzero)
            worse = best.copy()
            worse[np.flatnonzero(best.any(axis=1))[0] + 1 :] = False
            iou = (best & truth_HW).sum() / (best | truth_HW).sum()
            assert outcome.max_iou_G[g] == pytest.approx((worse & truth_HW).sum() / (worse | truth_HW).sum())
            assert outcome.oracle_iou_G[g] == pytest.approx(max(iou, outcome.max_iou_G[g]))
    every = np.concatenate([outcome.oracle_iou_G for outcome in outcomes])
    assert report.oracle_iou.mean == pytest.approx(100 * every.mean())
    assert report.oracle_iou.interval[0] < report.oracle_iou.mean < report.oracle_iou.interval[1]
    assert report.max_iou.mean < report.oracle_iou.mean


@dataclass
class Record:
    key: str
    path: object
    masks: MaskSet

    def read_masks(self):
        return self.masks


def one_image(tmp_path, *masks_HW):
    """A source of one drawn image with these ground truths."""
    write_annotated(tmp_path / "one", 1)
    (record,) = CocoSource(tmp_path / "one" / "annotations.json")
    truths = MaskSet.from_arrays(np.stack(masks_HW))
    return OneImage([replace(record, read_masks=lambda: truths)]), truths


class OneImage(list):
    name = "one"


def test_the_number_of_clicks(tmp_path):
    """Of 20 rows of a mask there is one after a click, then 5, 9, 13, 17: the fifth reaches 0.8, the sixth 0.9."""
    source, truths = one_image(tmp_path, box_mask(3, 0, 20, 20, (48, 64)))
    clickable = Knowing(lambda _: truths)
    evaluator = PointEvaluator(source, most_clicks=20)
    (outcome,) = evaluator.predictions(clickable)
    assert outcome.clicks_TG.tolist() == [[5], [5], [6]] and outcome.max_iou_G.tolist() == [0.05]
    assert [len(points[0]) for points, _ in clickable.asked] == [1, 2, 3, 4, 5, 6]
    # Every click after the first is in the middle of the rows that are missing.
    points, labels = clickable.asked[-1]
    assert labels == [[1] * 6] and points[0][1] == (11, 9) and points[0][2] == (10, 12)
    report = evaluator.report([outcome])
    assert [one.number.mean for one in report.clicks] == [5, 5, 6] and report.clicks[0].reached.mean == 100
    assert report.scalars()["one/NoC@85"] == 5


def test_what_is_never_reached_counts_as_all_clicks(tmp_path):
    source, truths = one_image(tmp_path, box_mask(3, 0, 20, 20, (48, 64)), box_mask(30, 30, 40, 31, (48, 64)))
    evaluator = PointEvaluator(source, most_clicks=4, thresholds=[0.5])
    (outcome,) = evaluator.predictions(Knowing(lambda _: truths, helps=False))
    assert outcome.clicks_TG.tolist() == [[0, 1]]
    (of_half,) = evaluator.report([outcome]).clicks
    assert of_half.number.mean == 2.5 and of_half.reached.mean == 50
    assert "NoC@50    2.5 (" in evaluator.report([outcome]).table()


def test_clicks_of_several_truths_go_together_or_alone(source):
    together = PointEvaluator(source, most_clicks=3)
    predictor = PromptPredictor(small_model(), InferenceConfig(short_side=72, long_side=160))
    outcomes = list(together.predictions(predictor))
    for outcome, record in zip(outcomes, together.records, strict=True):
        truths = record.read_masks()
        for g in range(len(truths)):
            alone = PointEvaluator(OneImage([replace(record, read_masks=lambda one=truths[[g]]: one)]), most_clicks=3)
            (one,) = alone.predictions(predictor)
            assert one.max_iou_G[0] == pytest.approx(outcome.max_iou_G[g], abs=1e-3)
            assert one.oracle_iou_G[0] == pytest.approx(outcome.oracle_iou_G[g], abs=1e-3)
            assert one.clicks_TG[:, 0].tolist() == outcome.clicks_TG[:, g].tolist()


def test_shares_of_all_ranks_are_all_images(source):
    evaluator = PointEvaluator(source, most_clicks=2)
    whole = evaluator.report(evaluator.predictions(Knowing(bright_labeler)))
    shares = [list(evaluator.predictions(Knowing(bright_labeler), rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(map(len, shares)) == [1, 2, 2]
    assert evaluator.report([one for share in reversed(shares) for one in share]) == whole
    with pytest.raises(ValueError, match="rank must be within 0 and world_size - 1 = 1, got 2"):
        next(evaluator.predictions(Knowing(bright_labeler), rank=2, world_size=2))
    with pytest.raises(ValueError, match="each image of drawn must be clicked once, got 96"):
        evaluator.report([*shares[0], *shares[0]])
    with pytest.raises(ValueError, match="must have an image whose annotations can be read"):
        evaluator.report([])


def test_images_that_cannot_be_asked_count_and_empty_truths_do_not(tmp_path, caplog):
    path = write_annotated(tmp_path)
    (tmp_path / "images" / "00.png").write_bytes(b"no image")
    content = json.loads(path.read_text())
    content["images"][1]["height"] += 1
    for annotation in content["annotations"]:
        if annotation["image_id"] == content["images"][1]["id"]:
            annotation["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    path.write_text(json.dumps(content))
    evaluator = PointEvaluator(CocoSource(path))
    with caplog.at_level(logging.WARNING):
        report = evaluator.report(evaluator.predictions(Knowing(bright_labeler)))
    assert report.n_unanswered == 2 and report.n_truths == 15 and "2 of them not answered" in report.table()
    assert "00.png is not an image" in caplog.text and "01.png has (60, 40) pixels" in caplog.text
    source, truths = one_image(tmp_path, box_mask(3, 0, 20, 20, (48, 64)), np.zeros((48, 64), dtype=bool))
    evaluator = PointEvaluator(source)
    assert evaluator.report(evaluator.predictions(Knowing(lambda _: truths))).n_truths == 1


def test_no_ground_truth_is_no_figure(tmp_path):
    path = write_annotated(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    evaluator = PointEvaluator(CocoSource(path))
    report = evaluator.report(evaluator.predictions(Knowing(bright_labeler)))
    assert report.n_truths == 0 and report.scalars() == {} and report.to_dict()["max_iou"]["mean"] is None
    assert "Max IoU  -" in report.table()


def test_labels_under_a_click():
    truth = box_mask(2, 2, 12, 12)
    boxes = [(2, 2, 12, 8), (4, 4, 10, 10), (0, 0, 30, 20), (20, 0, 30, 10)]
    labels = MaskSet.from_arrays(np.stack([box_mask(*box) for box in boxes]), score=[0.1, 0.2, 0.8, 0.9])
    outcome = of_labels("a", labels, MaskSet.from_arrays(truth[None]))
    assert outcome.max_iou_G.tolist() == [100 / 600] and outcome.oracle_iou_G.tolist() == [0.6]
    assert outcome.clicks_TG is None
    elsewhere = of_labels("a", labels[[3]], MaskSet.from_arrays(truth[None]))
    assert elsewhere.oracle_iou_G.tolist() == [0]
    assert of_labels("a", MaskSet.empty((20, 30)), MaskSet.from_arrays(truth[None])).oracle_iou_G.tolist() == [0]


def test_only_the_six_labels_of_nearest_size_answer():
    truth = box_mask(10, 5, 20, 15)  # 100 pixels, clicked at (14, 9)
    same_size = [box_mask(10 + dx, 5, 20 + dx, 15) for dx in (-4, -3, -2, 2, 3, 4)]
    better = box_mask(10, 5, 20, 14)  # 90 pixels and the best, but six are nearer in size
    labels = MaskSet.from_arrays(np.stack([better, *same_size]))
    outcome = of_labels("a", labels, MaskSet.from_arrays(truth[None]))
    assert outcome.oracle_iou_G[0] == pytest.approx(80 / 120)
    outcome = of_labels("a", labels[:-1], MaskSet.from_arrays(truth[None]))
    assert outcome.oracle_iou_G[0] == pytest.approx(0.9)


def test_labels_of_a_store(tmp_path, source):
    images = tmp_path / "drawn" / "images"
    assert dico(["label", str(images), str(tmp_path / "labels"), "--quiet"]) == 0
    evaluator = PointEvaluator(source)
    store = MaskStore.open(tmp_path / "labels")
    outcomes = list(evaluator.predictions_of_labels(store))
    assert len(outcomes) == 5 and all(outcome.answered for outcome in outcomes)
    report = evaluator.report(outcomes)
    assert 0 < report.oracle_iou.mean <= 100 and not report.clicks
    shares = [one for rank in range(2) for one in evaluator.predictions_of_labels(store, rank=rank, world_size=2)]
    assert evaluator.report(shares) == report
    own = PointEvaluator(StoreSource(tmp_path / "labels"))
    assert own.report(own.predictions_of_labels(store)).oracle_iou.mean > 95  # the truths are the labels
    (images / "00.png").rename(tmp_path / "kept.png")
    assert dico(["label", str(images), str(tmp_path / "fewer"), "--quiet"]) == 0
    (tmp_path / "kept.png").rename(images / "00.png")
    fewer = evaluator.report(evaluator.predictions_of_labels(MaskStore.open(tmp_path / "fewer")))
    assert fewer.n_unanswered == 1 and fewer.oracle_iou.mean < report.oracle_iou.mean


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"images": -1}, "images must be at least 0, got -1"),
        ({"most_clicks": 0}, "most_clicks must be at least 1, got 0"),
        ({"thresholds": [0.5, 1.1]}, r"thresholds must be within \(0, 1\], got \(0.5, 1.1\)"),
    ],
)
def test_refusals(source, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        PointEvaluator(source, **options)


def test_a_missing_image_is_found_before_any_work(tmp_path, source):
    (tmp_path / "drawn" / "images" / "03.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 5 images of drawn are missing, such as .*03\.png"):
        PointEvaluator(source)
    assert len(PointEvaluator(source, images=1).records) == 1


def test_ground_truth_that_cannot_be_read_is_left_out_and_other_faults_are_of_their_image(tmp_path, caplog):
    path = write_annotated(tmp_path, 3)
    content = json.loads(path.read_text())
    first = min(content["images"], key=lambda image: image["id"])
    one = next(one for one in content["annotations"] if one["image_id"] == first["id"] and not one["iscrowd"])
    one["segmentation"] = {"size": [first["height"], first["width"]], "counts": "~"}  # to pycocotools an empty mask
    path.write_text(json.dumps(content))

    class Tired(Knowing):
        def set_image(self, image):
            if image.shape[:2] == (60, 40):
                raise RuntimeError("out of memory")
            super().set_image(image)

    evaluator = PointEvaluator(CocoSource(path), most_clicks=2)
    report = evaluator.report(evaluator.predictions(Tired(bright_labeler)))
    assert report.n_images == 2 and report.n_unanswered == 1 and report.n_truths == 6
    assert f"the mask of annotation {one['id']} is damaged" in caplog.text and ": the image is left out" in caplog.text
    assert "out of memory: its ground truths count as not found" in caplog.text
    assert len(report.clicks) == 3  # of the image that was clicked; of the other, all were needed

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from dico.evaluate import evaluate_masks
from dico.evaluation_report import without_nan
from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from dico.matching import IOU_THRESHOLDS
from tests.reference.average_recall import Picture, average_recall
from training.evaluation.running.mask_work import MakeMaskWork, MaskTask
from training.evaluation.set_report import SHOWN_IMAGES, SetFacts, set_report
from training.evaluation.suite_report import SuiteReport
from training.suite.masks import VerificationError, _verified

SIZE_HW = (30, 40)
FACTS = SetFacts("drawn", "Drawings", 20, ("A note.",))
KINDS = ("object", "part", None)


class Known:
    """Answers with known masks; an image of id 7 is not known, one of id 8 cannot be read."""

    def __init__(self, masks):
        self.known = masks

    def masks(self, image, path):
        if image.image_id == 8:
            raise ValueError(f"{path} is damaged")
        return None if image.image_id == 7 else self.known[image.image_id]


def drawn(count, seed=0):
    """Images with boxes of three kinds, some of them crowds; and masks of three levels near some of them."""
    rng = np.random.default_rng(seed)
    images, answers = [], {}
    for image_id in range(count):
        n_truths = int(rng.integers(0, 5))
        corners_N2 = rng.integers(0, 20, (n_truths, 2))
        truths_NHW = [box(x, y, x + 10, y + 10) for x, y in corners_N2]
        truths = MaskSet.from_arrays(np.array(truths_NHW, dtype=bool).reshape(-1, *SIZE_HW))
        annotations = truths.to_coco()
        for one in annotations:
            one["iscrowd"] = int(rng.random() < 0.2)
            kind = KINDS[rng.integers(3)]
            one.pop("level")
            if kind is not None:
                one["level"] = kind
        images.append(AnnotatedImage(image_id, f"{image_id:03d}.jpg", SIZE_HW, tuple(annotations)))
        near = [box(x + rng.integers(-3, 4), y + rng.integers(-3, 4), x + 10, y + 10) for x, y in corners_N2]
        masks_NHW = np.array([*near, box(0, 0, 40, 30), box(1, 1, 3, 3)], dtype=bool)
        fields = {"score": rng.random(len(masks_NHW)), "level": rng.integers(0, 3, len(masks_NHW))}
        answers[image_id] = MaskSet.from_arrays(masks_NHW, **fields)
    return images, answers


def box(x0, y0, x1, y1):
    mask_HW = np.zeros(SIZE_HW, dtype=bool)
    mask_HW[max(0, y0) : y1, max(0, x0) : x1] = True
    return mask_HW


def results_of(images, answers, max_det=100):
    work = MakeMaskWork(lambda: Known(answers), max_det)()
    return [work(MaskTask(image, Path("images") / image.file_name)) for image in images]


def as_data(report):
    return SuiteReport("whole-image", "", (report,), ()).to_dict()


def only(image, keep):
    return replace(image, annotations=tuple(one if keep(one) else {**one, "iscrowd": 1} for one in image.annotations))


def test_figures_are_those_of_the_evaluator_in_any_order():
    images, answers = drawn(7)
    results = results_of(images, answers)
    report = set_report(results[::-1], FACTS, max_dets=(2, 100), images_root=Path("a"))
    assert report.figures.to_dict() == evaluate_masks(answers.items(), images, max_dets=(2, 100)).to_dict()
    again = set_report(results, FACTS, max_dets=(2, 100), images_root=Path("a"))
    assert as_data(again) == as_data(report)
    assert report.is_subset and report.unanswered == 0 and report.notes == ("A note.",)


def test_recall_by_kind_is_that_of_matching_all_truths():
    """Recall of a kind is not that of an evaluation without the others: a mask that found another is taken."""
    images, answers = drawn(12, seed=3)
    images = [image for image in images if image.image_id not in (7, 8)]
    report = set_report(results_of(images, answers), FACTS, max_dets=(100,))
    assert [one.kind for one in report.by_kind] == ["", "object", "part"]
    truths = sum(one.n_truths for one in report.by_kind)
    assert truths == report.figures.n_truths
    whole = sum(one.ar * one.n_truths for one in report.by_kind) / truths
    assert whole == pytest.approx(report.figures.at(100).ar)
    assert all(one.interval[0] <= one.ar <= one.interval[1] for one in report.by_kind)
    alone = [only(image, lambda one: False) for image in images]
    assert np.isnan(set_report(results_of(alone, answers), FACTS, max_dets=(100,)).by_kind[0].ar)


def test_points_of_levels_sum_to_recall_and_come_from_their_masks():
    images, answers = drawn(12, seed=5)
    images = [image for image in images if image.image_id not in (7, 8)]
    report = set_report(results_of(images, answers), FACTS, max_dets=(1, 100))
    assert [one.level for one in report.by_level] == [0, 1, 2]
    assert sum(one.ar_share for one in report.by_level) == pytest.approx(report.figures.at(100).ar)
    assert sum(one.masks_per_image for one in report.by_level) == pytest.approx(report.figures.masks_per_image)
    assert all(one.ar_share > 0 for one in report.by_level)
    # Of masks of one level alone nothing has to be said.
    flat = {image_id: masks.with_fields(level=np.zeros(len(masks))) for image_id, masks in answers.items()}
    assert set_report(results_of(images, flat), FACTS, max_dets=(1, 100)).by_level == ()


def test_the_recall_of_one_image_is_its_definition():
    images, answers = drawn(12, seed=1)
    images = [image for image in images if image.image_id not in (7, 8)]
    results = results_of(images, answers)
    shown = {}
    for image, result in zip(images, results, strict=True):
        if not result.n_truths:
            assert np.isnan(result.ar)
            continue
        truths = list(MaskSet.from_rles(SIZE_HW, image.rles).decode())
        masks = answers[image.image_id]
        picture = Picture(
            list(masks.decode()), masks.score.tolist(), truths, image.area_px.tolist(), image.is_crowd.tolist()
        )
        assert result.ar == pytest.approx(average_recall([picture], 100))
        shown[image.image_id] = (result.ar, result.n_truths)
    report = set_report(results, FACTS, max_dets=(100,), images_root=Path("a"))
    assert len(report.worst) == min(SHOWN_IMAGES, len(shown))
    assert [one.image_id for one in report.worst] == sorted(shown, key=lambda i: (shown[i][0], -shown[i][1], i))[
        :SHOWN_IMAGES
    ]
    assert [one.image_id for one in report.best] == sorted(shown, key=lambda i: (-shown[i][0], -shown[i][1], i))[
        :SHOWN_IMAGES
    ]
    assert report.best[0].path == Path("a") / report.best[0].file_name


def test_images_that_are_not_answered_count_and_are_not_shown():
    images, answers = drawn(12)
    results = results_of(images, answers)
    assert results[7].fault == "nothing is known of it" and results[8].fault == "images/008.jpg is damaged"
    report = set_report(results, FACTS, max_dets=(100,))
    known = {image_id: masks for image_id, masks in answers.items() if image_id not in (7, 8)}
    expected = evaluate_masks(known.items(), images, max_dets=(100,))
    assert report.figures.to_dict() == expected.to_dict() and report.unanswered == expected.n_unlabelled == 2
    assert not {7, 8} & {one.image_id for one in (*report.worst, *report.best)}


def test_masks_of_another_size_and_broken_ground_truth_are_faults_of_their_image():
    images, answers = drawn(3)
    answers[0] = MaskSet.empty((5, 5))
    images[1] = replace(images[1], annotations=({"id": 4, "segmentation": {"size": list(SIZE_HW), "counts": "~"}},))
    results = results_of(images, answers)
    assert "but its masks have (5, 5)" in results[0].fault and results[0].outcome.n_masks == 0
    assert "rle must be" in results[1].fault and results[1].fault.endswith(": the image is left out")
    assert results[2].answered and [one.left_out for one in results] == [False, True, False]
    assert results[0].n_truths == sum(not one["iscrowd"] for one in images[0].annotations)


@pytest.mark.parametrize("known", [True, False])
def test_an_image_of_which_one_ground_truth_cannot_be_read_is_no_part_of_any_figure(known):
    """Whether it is answered or not: the figures are those of the other images."""
    images, answers = drawn(9)
    others = images[:4] + images[5:]
    expected = set_report(results_of(others, answers), FACTS, max_dets=(2, 100))
    if not known:
        del answers[4]
    broken = {"id": 4, "segmentation": {"size": list(SIZE_HW), "counts": "~"}}
    images[4] = replace(images[4], annotations=(*images[4].annotations, broken))
    results = results_of(images, answers)
    report = set_report(results, FACTS, max_dets=(2, 100))
    assert (report.left_out, expected.left_out) == (1, 0) and report.figures.n_images == len(others)
    assert _comparable(report) == _comparable(expected)
    tasks = [MaskTask(image, None) for image in images]
    assert "coco" in _verified(report, tasks, results, Known(answers), (2, 100))


def _comparable(report):
    plain = without_nan(asdict(report))
    return {key: value for key, value in plain.items() if key not in ("left_out", "seconds")}


def test_stock_tools_find_the_same_figures_or_it_is_told():
    images, answers = drawn(7)
    tasks = [MaskTask(image, None) for image in images]
    results = results_of(images, answers)
    report = set_report(results, FACTS, max_dets=(2, 100))
    assert "coco" in _verified(report, tasks, results, Known(answers), (2, 100))
    moved = {image_id: masks[:-1] for image_id, masks in answers.items()}
    with pytest.raises(VerificationError, match=r"drawn: figures differ from those of .* by up to .* points"):
        _verified(report, tasks, results, Known(moved), (2, 100))


def test_nothing_to_find_is_no_figure():
    images = [AnnotatedImage(1, "", SIZE_HW, ())]
    report = set_report(results_of(images, {1: MaskSet.empty(SIZE_HW)}), FACTS, max_dets=(100,))
    assert np.isnan(report.figures.at(100).ar) and report.worst == report.by_level == report.by_kind == ()
    assert len(IOU_THRESHOLDS) == 10

"""Training, the predictor, automatic masks and their evaluation together: who clicks a shape gets that shape."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from dico.masks import MaskSet
from tests.training.nested_shapes import nested
from tests.training.test_prompt_learning import learn
from training.automatic_masks import AutomaticMasks
from training.config import AutomaticConfig, InferenceConfig
from training.evaluation.point_iou import PointEvaluator
from training.prompt_predictor import PromptPredictor
from training.records import ImageRecord

INFERENCE = InferenceConfig(short_side=64, long_side=128)
DISC, BOX = 0, 3
"""The outermost of the nested shapes on either side."""


@pytest.fixture(scope="module")
def model():
    samples = [nested(seed, 64) for seed in range(2)]
    return learn(samples, steps=60, more=["optim.lr=4e-3", "prompts.corrections=1"])


def shapes(seed, scale_y=1, scale_x=1):
    """An image and its disc and box, enlarged."""
    sample = nested(seed, 64)
    image = sample.image_CHW.permute(1, 2, 0).numpy().repeat(scale_y, axis=0).repeat(scale_x, axis=1)
    masks_NHW = sample.masks_NHW[[DISC, BOX]].numpy().repeat(scale_y, axis=1).repeat(scale_x, axis=2)
    return np.ascontiguousarray(image), masks_NHW


def iou(mask_HW, other_HW):
    return (mask_HW & other_HW).sum() / (mask_HW | other_HW).sum()


@pytest.mark.parametrize("scales", [(1, 1), (3, 3), (1, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_click_and_a_box_give_the_shape_that_is_there(model, seed, scales):
    predictor = PromptPredictor(model, INFERENCE)
    image, masks_NHW = shapes(seed, *scales)
    predictor.set_image(image)
    for wanted_HW, other_HW in (masks_NHW, masks_NHW[::-1]):
        ys, xs = np.nonzero(wanted_HW)
        middle = [int(np.median(xs)), int(np.median(ys))]
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        for asked in ({"points": [middle]}, {"box": box}):
            found_HW = predictor.predict(**asked, order="iou")[0][0]
            assert iou(found_HW, wanted_HW) > 0.45 > 0.2 > iou(found_HW, other_HW)


def test_automatic_masks_find_both_shapes(model):
    image, masks_NHW = shapes(0, 2, 2)
    config = AutomaticConfig(points_per_side=8, min_iou=0.4, min_stability=0.4)
    masks = AutomaticMasks(PromptPredictor(model, INFERENCE), config, INFERENCE)(image)
    best_N = masks.iou(MaskSet.from_arrays(masks_NHW)).max(axis=0)
    assert 2 <= len(masks) < 30 and (best_N > 0.45).all()


def test_the_evaluation_sees_what_was_learned(model, tmp_path):
    class Drawn(list):
        name = "drawn"

    records = Drawn()
    for seed in range(2):
        image, masks_NHW = shapes(seed, 2, 2)
        PIL.Image.fromarray(image).save(tmp_path / f"{seed}.png")
        truths = MaskSet.from_arrays(masks_NHW)
        records.append(ImageRecord(str(seed), tmp_path / f"{seed}.png", lambda truths=truths: truths))
    evaluator = PointEvaluator(records, most_clicks=2, thresholds=[0.45])
    report = evaluator.report(evaluator.predictions(PromptPredictor(model, INFERENCE)))
    assert report.oracle_iou.mean >= report.max_iou.mean > 45
    assert report.clicks[0].number.mean == 1 and report.clicks[0].reached.mean == 100
    torch.manual_seed(0)
    untrained = PromptPredictor(type(model)(model.config), INFERENCE)
    assert evaluator.report(evaluator.predictions(untrained)).oracle_iou.mean < report.oracle_iou.mean - 10

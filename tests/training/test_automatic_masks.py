from __future__ import annotations

import pickle
import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from dico.stopwatch import stopwatch
from tests.conftest import draw
from tests.reference.automatic_masks import automatic_masks, cleaned
from tests.training.asked import INFERENCE, decisive_model, write_promptable
from training import automatic_masks as module
from training.automatic_masks import AutomaticMasks
from training.click_grid import crops_of
from training.config import AutomaticConfig, TrainConfig
from training.models.checkpoint_files import CheckpointError
from training.postprocess import products
from training.prompt_predictor import PromptPredictor

IMAGE = draw(0, (50, 70))
LOOSE = AutomaticConfig(
    points_per_side=5, min_iou=0.0, min_stability=0.3, stability_offset=0.05, max_box_iou=0.9, min_region_px=6
)


@pytest.fixture(scope="module")
def predictor():
    return PromptPredictor(decisive_model(), INFERENCE)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"max_box_iou": 1.0, "min_region_px": 0},
        {"max_box_iou": 0.5},
        {"min_stability": 0.7},
        {"min_iou": 0.3},
        {"min_region_px": 60},
        {"min_region_share": 0.0},
        {"min_region_share": 0.2},
    ],
)
def test_masks_are_those_of_the_loop(predictor, changed):
    config = replace(LOOSE, **{name: value for name, value in changed.items() if name != "min_region_share"})
    limits = replace(INFERENCE, min_region_share=changed.get("min_region_share", INFERENCE.min_region_share))
    found = AutomaticMasks(predictor, config, limits)(IMAGE)
    expected = automatic_masks(predictor, IMAGE, config, min_region_share=limits.min_region_share)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)
    assert np.diag(found.iou(expected)).min() > 0.99


def test_the_settings_decide(predictor):
    base = replace(LOOSE, max_box_iou=1.0)
    before = len(AutomaticMasks(predictor, base, INFERENCE)(IMAGE))
    for name, value in (("points_per_side", 3), ("min_iou", 0.3), ("stability_offset", 0.5), ("max_box_iou", 0.5)):
        assert 0 < len(AutomaticMasks(predictor, replace(base, **{name: value}), INFERENCE)(IMAGE)) < before


@pytest.mark.parametrize(
    ("automatic", "inference", "named"),
    [
        ({"min_stability": 1.0, "stability_offset": 9.0}, {}, r"automatic\.min_stability=1"),
        ({"min_iou": 1.0, "min_stability": 1.0}, {}, r"automatic\.min_iou=1"),
        ({"min_stability": 1.0, "stability_offset": 9.0}, {"min_score": 1.0}, r"inference\.min_score=1"),
        ({"min_region_px": 5000}, {}, r"automatic\.min_region_px=5000"),
        ({}, {"min_area_px": 5000}, r"inference\.min_area_px=5000"),
    ],
)
def test_where_no_mask_is_left_the_setting_that_dropped_most_is_named(predictor, caplog, automatic, inference, named):
    loose = replace(LOOSE, min_stability=0.0, max_box_iou=1.0, min_region_px=0)
    assert len(AutomaticMasks(predictor, loose, INFERENCE)(IMAGE)) and not caplog.messages
    assert not len(AutomaticMasks(predictor, replace(loose, **automatic), replace(INFERENCE, **inference))(IMAGE))
    (message,) = caplog.messages
    said = re.fullmatch(rf"no mask is left: {named} dropped (\d+) of (\d+); lower, it keeps more", message)
    assert said and 0 < int(said[2]) / 2 < int(said[1]) <= int(said[2]) <= 150


def test_no_setting_is_blamed_for_empty_masks(caplog):
    model = decisive_model()
    with torch.no_grad():
        for parameter in model.prompt_decoder.mask_embedder.parameters():
            parameter.zero_()
    config = replace(LOOSE, min_stability=0.0)
    assert not len(AutomaticMasks(PromptPredictor(model, INFERENCE), config, INFERENCE)(IMAGE))
    assert not caplog.messages


def test_a_checkpoint_says_how_it_is_asked(tmp_path):
    path = write_promptable(tmp_path / "a.pth", TrainConfig(inference=INFERENCE, automatic=LOOSE), decisive_model())
    automatic = AutomaticMasks.from_checkpoint(path, device="auto")
    assert automatic(IMAGE) == AutomaticMasks(automatic.predictor, LOOSE, INFERENCE)(IMAGE)
    few = AutomaticMasks.from_checkpoint(path, overrides=["automatic.min_iou=0.3", "inference.max_masks=2"])(IMAGE)
    assert len(few) == 2 < len(automatic(IMAGE))
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        AutomaticMasks.from_checkpoint(tmp_path / "b.pth")
    with pytest.raises(TypeError, match=r"got str: dico\.image\.load_image"):
        automatic("photo.jpg")


def test_the_hierarchy(predictor):
    masks = AutomaticMasks(predictor, LOOSE, INFERENCE)(IMAGE)
    assert set(masks.source) == {"automatic"} and (np.diff(masks.score) <= 0).all()
    np.testing.assert_array_equal(masks.level, masks.depth())
    children = np.flatnonzero(masks.parent >= 0)
    assert len(children) and (masks.theta[children] > masks.theta[masks.parent[children]]).all()
    inside = masks.containment()
    assert all(inside[child, masks.parent[child]] >= 0.9 for child in children)


def test_limits(predictor):
    every = AutomaticMasks(predictor, LOOSE, INFERENCE)(IMAGE)
    few = AutomaticMasks(predictor, LOOSE, replace(INFERENCE, max_masks=2))(IMAGE)
    assert few.rles == every.rles[:2]
    large = AutomaticMasks(predictor, LOOSE, replace(INFERENCE, min_area_px=600))(IMAGE)
    assert 0 < len(large) < len(every) and large.area_px.min() >= 600
    good = AutomaticMasks(predictor, LOOSE, replace(INFERENCE, min_score=0.3))(IMAGE)
    assert 0 < len(good) < len(every) and good.score.min() >= 0.3
    apart = AutomaticMasks(predictor, LOOSE, replace(INFERENCE, max_iou=0.3))(IMAGE)
    assert 0 < len(apart) < len(every) and np.triu(apart.iou(), 1).max() <= 0.3


def test_crops_are_seen_on_their_own(predictor, monkeypatch):
    """What is cut off is left out; but for that, crops give what they give as images."""
    every = replace(LOOSE, max_box_iou=1.0, min_region_px=0)
    config = replace(every, crop_layers=1, points_per_side=4, crop_points_divisor=2)
    uncut = AutomaticMasks(predictor, config, INFERENCE)(IMAGE)
    monkeypatch.setattr(module, "inside_crop", lambda boxes_N4, *_: np.ones(len(boxes_N4), dtype=bool))
    found = {mask_HW.tobytes() for mask_HW in AutomaticMasks(predictor, config, INFERENCE)(IMAGE).iter_decoded()}
    expected = set()
    for x0, y0, x1, y1 in (part.box_xyxy for part in crops_of((50, 70), config)):
        points = 4 if (x1 - x0, y1 - y0) == (70, 50) else 2
        part_config = replace(every, points_per_side=points)
        for mask_HW in AutomaticMasks(predictor, part_config, INFERENCE)(IMAGE[y0:y1, x0:x1]).iter_decoded():
            whole_HW = np.zeros((50, 70), dtype=bool)
            whole_HW[y0:y1, x0:x1] = mask_HW
            expected.add(whole_HW.tobytes())
    assert found == expected
    assert {mask_HW.tobytes() for mask_HW in uncut.iter_decoded()} < expected
    distinct = AutomaticMasks(predictor, replace(config, max_box_iou=0.6), INFERENCE)(IMAGE)
    assert 0 < len(distinct) < len(expected)


@pytest.mark.parametrize("crop_layers", [0, 2])
@pytest.mark.parametrize(("least_px", "least_share"), [(30, 0.0), (0, 0.1), (30, 0.1)])
def test_no_mask_is_or_has_a_small_region(predictor, crop_layers, least_px, least_share):
    config = replace(LOOSE, min_region_px=0, crop_layers=crop_layers, crop_edge_px=0)
    dirty = AutomaticMasks(predictor, config, replace(INFERENCE, min_region_share=0.0))(IMAGE)
    assert any((cleaned(mask_HW, least_px, least_share) != mask_HW).any() for mask_HW in dirty.iter_decoded())
    limits = replace(INFERENCE, min_region_share=least_share)
    clean = AutomaticMasks(predictor, replace(config, min_region_px=least_px), limits)(IMAGE)
    assert len(clean) and clean.area_px.min() >= max(1, least_px)
    # What is small by its share was so before it was filled and cut; of pixels nothing is left.
    for mask_HW in clean.iter_decoded():
        np.testing.assert_array_equal(cleaned(mask_HW, least_px), mask_HW)
        np.testing.assert_array_equal(cleaned(mask_HW, 0, least_share / 2), mask_HW)


@pytest.mark.parametrize("size_hw", [(1, 300), (200, 2)])
def test_images_of_any_shape(predictor, size_hw):
    config = replace(LOOSE, crop_layers=1, points_per_side=2)
    assert AutomaticMasks(predictor, config, INFERENCE)(draw(1, size_hw)).size_hw == size_hw


def test_threads_and_other_processes_change_nothing(predictor):
    automatic = AutomaticMasks(predictor, LOOSE, INFERENCE)
    expected = automatic(IMAGE)
    assert pickle.loads(pickle.dumps(automatic))(IMAGE) == expected
    predictor.threads, before = 3, predictor.threads
    assert automatic(IMAGE) == expected
    predictor.threads = before


def test_stages_are_timed_and_the_set_image_stays(predictor):
    predictor.set_image(draw(3))
    before = predictor.predict(points=[[5, 5]])[1]
    with stopwatch() as seconds:
        AutomaticMasks(predictor, LOOSE, INFERENCE)(IMAGE)
    assert set(seconds) == {"network", "clicks", "masks"}
    np.testing.assert_array_equal(predictor.predict(points=[[5, 5]])[1], before)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"points_per_side": 0}, "automatic.points_per_side must be at least 1, got 0"),
        ({"min_stability": 1.1}, r"automatic.min_stability must be within \[0, 1\], got 1.1"),
        ({"stability_offset": 0.0}, "automatic.stability_offset must be above 0 and finite, got 0.0"),
        ({"crop_overlap": 1.0}, r"automatic.crop_overlap must be within \[0, 1\), got 1.0"),
        ({"min_iou": -0.1}, r"automatic.min_iou must be within \[0, 1\], got -0.1"),
        ({"min_iou": 2}, r"automatic.min_iou must be within \[0, 1\], got 2"),
        ({"min_iou": float("nan")}, r"automatic.min_iou must be within \[0, 1\], got nan"),
        ({"stability_offset": float("inf")}, "automatic.stability_offset must be above 0 and finite, got inf"),
    ],
)
def test_refused_settings(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        AutomaticConfig(**values)


def test_memory_does_not_grow_with_the_masks(predictor, monkeypatch):
    """Dense, the masks of 100 clicks on 500 x 700 pixels would be 210 MB of bytes, their logits 840 MB."""
    monkeypatch.setattr(products, "CHUNK_BYTES", 1_000_000)
    image = draw(0, (500, 700))
    peaks = {}
    for points in (3, 10):
        config = replace(LOOSE, max_box_iou=1.0, min_region_px=0, points_per_side=points)
        automatic = AutomaticMasks(predictor, config, replace(INFERENCE, max_masks=5))
        tracemalloc.start()
        automatic(image)
        peaks[points] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[10] < peaks[3] + 5_000_000 and peaks[10] < 30_000_000

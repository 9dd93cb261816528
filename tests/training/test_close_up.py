"""Windows around prompts: where they lie, what is asked in them, and which of their masks are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dico.masks import MaskSet
from tests.conftest import draw
from training.close_up import seen_in, windows_of
from training.config import InferenceConfig, PromptableConfig
from training.models.promptable import PromptableModel
from training.pixel_prompts import checked
from training.prompt_predictor import PromptPredictor

SIZE_HW = (60, 80)
ZOOMED = InferenceConfig(short_side=64, long_side=96, zooms=(1, 2, 4))


def predictor(config, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PromptableModel(PromptableConfig(backbone="tiny", width=32, encoder_layers=1, decoder_layers=1))
    asked = PromptPredictor(model, config)
    asked.set_image(draw(1, SIZE_HW))
    return asked


def test_windows_hold_the_prompt_and_lie_in_the_image():
    rng = np.random.default_rng(0)
    clicks = rng.integers(0, SIZE_HW[::-1], (50, 1, 2))
    windows = windows_of(checked(SIZE_HW, clicks), SIZE_HW, (1, 2, 4))
    assert sorted(p for of_window in windows.values() for p in of_window) == sorted([*range(50), *range(50)])
    assert {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in windows} == {(40, 30), (20, 15)}
    for (x0, y0, x1, y1), of_window in windows.items():
        assert 0 <= x0 < x1 <= 80 and 0 <= y0 < y1 <= 60
        x_P, y_P = clicks[of_window, 0].T
        assert (x0 <= x_P).all() and (x_P < x1).all() and (y0 <= y_P).all() and (y_P < y1).all()


def test_windows_hold_boxes_wherever_they_are_in_images_of_any_size():
    rng = np.random.default_rng(0)
    zooms_seen = set()
    for _ in range(4000):
        size_hw = height, width = tuple(rng.integers(1, 70, 2).tolist())
        (x0, x1), (y0, y1) = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        prompts = checked(size_hw, boxes_P4=[[x0, y0, x1, y1]])
        for window in windows_of(prompts, size_hw, (1, 2, 3, 9)):
            zooms_seen.add(round(width / (window[2] - window[0])))
            seen = seen_in(window, prompts, [0])
            checked((window[3] - window[1], window[2] - window[0]), boxes_P4=seen.boxes_P4)  # raises otherwise
    assert zooms_seen >= {2, 3, 9}


def test_prompts_near_one_another_share_a_window():
    windows = windows_of(checked(SIZE_HW, [[[40, 30]], [[42, 31]]]), SIZE_HW, (1, 2))
    assert list(windows.values()) == [[0, 1]]


@pytest.mark.parametrize(
    ("boxes", "points", "zooms"),
    [
        ([[10, 10, 20, 17]], None, [2, 4]),
        ([[10, 10, 21, 17]], None, [2]),  # more than half of a window of 20 pixels
        ([[0, 0, 80, 60]], None, []),
        (None, [[[10, 10], [29, 10]]], [2]),  # two points that are wanted
        (None, [[[10, 10], [10, 40]]], []),
    ],
)
def test_a_prompt_too_large_for_a_window_has_none(boxes, points, zooms):
    windows = windows_of(checked(SIZE_HW, points, None, boxes), SIZE_HW, (1, 2, 4))
    assert sorted(80 // (x1 - x0) for x0, _, x1, _ in windows) == zooms


def test_a_point_that_is_not_wanted_makes_no_window_larger_and_is_dropped_outside():
    prompts = checked(SIZE_HW, [[[12, 10], [70, 50], [14, 12]]], [[1, 0, 0]])
    (window,) = windows_of(prompts, SIZE_HW, (1, 4))
    seen = seen_in(window, prompts, [0])
    assert seen.labels_PK.tolist() == [[1, -1, 0]]
    assert seen.points_PK2[0, 0].tolist() == [12 - window[0], 10 - window[1]]


def test_boxes_are_those_of_the_window():
    prompts = checked(SIZE_HW, None, None, [[10, 10, 20, 17], [50, 40, 60, 45]])
    assert seen_in((40, 30, 80, 60), prompts, [1]).boxes_P4.tolist() == [[10, 10, 20, 15]]


def test_a_box_is_answered_by_masks_of_all_views_that_fill_it(monkeypatch):
    def squares(output, frame, *, threads):
        height, width = frame.original_hw
        masks_NHW = np.zeros((2, height, width), dtype=bool)
        masks_NHW[0, 1 : height // 2, 1 : width // 2], masks_NHW[1, 1:3, 1:3] = True, True
        yield MaskSet.from_arrays(masks_NHW, score=[0.5, 0.6])

    monkeypatch.setattr("training.prompt_predictor.masks_of_prompts", squares)
    asked = predictor(ZOOMED)
    (of_box,) = asked.masks(boxes=[[25, 26, 35, 33]])
    # The left upper quarters of two windows; that of the smaller one fits best, though all are as sure.
    assert of_box.boxes_xyxy.tolist() == [[21, 22, 30, 28], [11, 15, 30, 29]] and of_box.score.argmax() == 0


def test_the_answer_to_a_prompt_does_not_depend_on_others():
    asked = predictor(ZOOMED)
    points, labels = [[[10, 10], [50, 20]], [[70, 50], [-1, -1]], [[41, 33], [40, 30]]], [[1, 0], [1, -1], [1, 1]]
    masks_PGHW, iou_PG = asked.predict_batch(points, labels)
    for p in range(3):
        known = [k for k in range(2) if labels[p][k] >= 0]
        alone_GHW, alone_G = asked.predict(points=[points[p][k] for k in known], labels=[labels[p][k] for k in known])
        np.testing.assert_allclose(iou_PG[p], alone_G, atol=1e-5)
        assert (masks_PGHW[p] != alone_GHW).mean() < 1e-3  # a pixel on a border may round to the other side


def test_windows_that_were_asked_last_are_kept_and_those_of_each_image_for_itself(monkeypatch):
    asked = predictor(ZOOMED)
    first, other = asked.image, asked.embed(draw(2, SIZE_HW))
    embedded = []
    embed = asked.embed
    monkeypatch.setattr(asked, "embed", lambda image: embedded.append(image) or embed(image))

    def looks(seen, *points):
        embedded.clear()
        asked.set_image(seen)
        answers = asked.predict(points=points)
        return len(embedded), answers

    n_first, (masks, ious) = looks(first, [30, 30])
    n_again, (masks_again, ious_again) = looks(first, [30, 30])
    assert (n_first, n_again, looks(other, [30, 30])[0]) == (2, 0, 2)
    np.testing.assert_array_equal(masks, masks_again)
    np.testing.assert_array_equal(ious, ious_again)
    assert looks(first, [30, 30], [31, 31])[0] == 0  # a correction beside it
    corners = [(x, y) for x in (5, 75) for y in (5, 55)]
    assert [looks(first, corner)[0] for corner in corners] == [2] * 4  # eight other windows
    assert looks(first, [30, 30])[0] == 2 and looks(first, corners[-1])[0] == 0
    assert looks(replace(first), corners[-1])[0] == 2  # a copy is seen as if for the first time


def test_masks_of_windows_come_in_the_frame_of_the_image_unless_cut_off(monkeypatch):
    def most_and_all(output, frame, *, threads):
        height, width = frame.original_hw
        masks_NHW = np.zeros((3, height, width), dtype=bool)
        masks_NHW[1, 1 : 3 * height // 4, 1 : 3 * width // 4], masks_NHW[2] = True, True  # and an empty one
        yield MaskSet.from_arrays(masks_NHW, score=[0.1, 0.2, 0.9])

    monkeypatch.setattr("training.prompt_predictor.masks_of_prompts", most_and_all)
    (masks,) = predictor(ZOOMED).masks([[[30, 30]]])
    # Most of the windows from (20, 24) and (10, 14), and all of the image; what fills a window is cut off by it.
    assert masks.boxes_xyxy.tolist() == [[21, 25, 35, 35], [11, 15, 40, 36], [0, 0, 80, 60]]


def test_logits_are_those_of_the_whole_image_alone():
    with pytest.raises(ValueError, match=r"return_logits needs inference\.zooms=\[1\], got \[1, 2, 4\]"):
        predictor(ZOOMED).predict(points=[[3, 3]], return_logits=True)


@pytest.mark.parametrize("zooms", [(), (2,), (1, 1), (1, 4, 2)])
def test_zooms_begin_with_the_whole_image_and_rise(zooms):
    with pytest.raises(ValueError, match=r"inference\.zooms must be 1, then rising whole numbers"):
        InferenceConfig(zooms=zooms)

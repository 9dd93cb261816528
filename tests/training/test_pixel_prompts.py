from __future__ import annotations

import numpy as np
import pytest
import torch

from training.pixel_prompts import prompts_of
from training.postprocess.frame import Frame
from training.predictor import InferenceConfig, network_input
from training.prompts import BOX, POINT

FRAME = Frame((64, 96), (48, 96), (100, 200))


def test_a_click_is_a_small_square_around_the_middle_of_its_pixel():
    asked = prompts_of(FRAME, [[[0, 0], [199, 99]]], [[0, 1]], click_px=6)
    first, last = (0.5 / 200, 0.5 / 100 * 48 / 64), (199.5 / 200, 99.5 / 100 * 48 / 64)
    torch.testing.assert_close(asked.points_BPK2, torch.tensor([[[first, last]]]))
    torch.testing.assert_close(asked.boxes_BP4, torch.tensor([[[*last, 6 / 96, 6 / 64]]]))
    assert asked.kind_BP.tolist() == [[POINT]] and asked.labels_BPK.tolist() == [[[0, 1]]]


def test_a_box_is_itself_and_points_refine_it():
    asked = prompts_of(FRAME, [[[3, 4]]], [[0]], [[0, 50, 200, 100]], click_px=6)
    torch.testing.assert_close(asked.boxes_BP4, torch.tensor([[[0.5, 0.75 * 0.75, 1.0, 0.5 * 0.75]]]))
    assert asked.kind_BP.tolist() == [[BOX]] and asked.points_BPK2.shape == (1, 1, 1, 2)
    alone = prompts_of(FRAME, boxes_P4=[[0, 50, 200, 100]], click_px=6)
    assert torch.equal(alone.boxes_BP4, asked.boxes_BP4) and alone.points_BPK2.shape == (1, 1, 0, 2)


def test_labels_that_are_not_given_are_positive_and_padding_may_lie_anywhere():
    asked = prompts_of(FRAME, [[[5, 5], [900, np.nan]], [[1, 2], [3, 4]]], [[1, -1], [1, 1]], click_px=6)
    assert asked.points_BPK2[0, 0, 1].tolist() == [0, 0] and asked.labels_BPK[0, 0].tolist() == [1, -1]
    assert prompts_of(FRAME, [[[5, 5]]], click_px=6).labels_BPK.tolist() == [[[1]]]


def test_prompts_may_have_different_numbers_of_points():
    points, labels = [[[60, 40]], [[20, 30], [5, 5]]], [[1], [0, 1]]
    padded = prompts_of(FRAME, [[[60, 40], [0, 0]], [[20, 30], [5, 5]]], [[1, -1], [0, 1]], click_px=6)
    for given in ((points, labels), (tuple(map(np.array, points)), tuple(map(np.array, labels)))):
        asked = prompts_of(FRAME, *given, click_px=6)
        for name in ("boxes_BP4", "kind_BP", "points_BPK2", "labels_BPK"):
            torch.testing.assert_close(getattr(asked, name), getattr(padded, name), rtol=0, atol=0)
    assert prompts_of(FRAME, points, click_px=6).labels_BPK.tolist() == [[[1, -1], [1, 1]]]
    boxes = [[1, 1, 9, 9], [2, 2, 9, 9]]
    assert prompts_of(FRAME, [[], [[5, 5]]], None, boxes, click_px=6).labels_BPK.tolist() == [[[-1], [1]]]


def test_what_of_a_box_is_not_in_the_image_is_cut_off():
    asked = prompts_of(FRAME, boxes_P4=[[-0.01, 50, 200.3, 100.2], [150, -70, 900, 20]], click_px=6)
    within = prompts_of(FRAME, boxes_P4=[[0, 50, 200, 100], [150, 0, 200, 20]], click_px=6)
    assert torch.equal(asked.boxes_BP4, within.boxes_BP4)


def test_nothing_may_be_asked():
    assert prompts_of(FRAME, np.zeros((0, 1, 2)), click_px=6).boxes_BP4.shape == (1, 0, 4)
    assert prompts_of(FRAME, boxes_P4=np.zeros((0, 4)), click_px=6).kind_BP.shape == (1, 0)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 900), (1200, 5), (64, 96), (333, 517)])
def test_a_click_on_a_landmark_is_on_the_landmark(size_hw):
    """Where the network sees a bright pixel of a dark image is where it is asked when that pixel is clicked."""
    height, width = size_hw
    config = InferenceConfig(short_side=64, long_side=128)
    for x, y in {(0, 0), (width - 1, height - 1), (width // 3, height // 2)}:
        image = np.zeros((height, width, 3), dtype=np.uint8)
        image[y, x] = 255
        images_B3HW, frame = network_input(image, config)
        asked = prompts_of(frame, [[[x, y]]], click_px=6)
        seen_HW = images_B3HW[0, 0].double()
        brightest = seen_HW == seen_HW.max()
        rows, columns = (axis.double() + 0.5 for axis in brightest.nonzero(as_tuple=True))
        share_x, share_y = asked.points_BPK2.flatten().double()
        # A pixel that was made larger or smaller is as bright in its middle; shrunk, it is in one of two pixels.
        for share, places, padded in (
            (share_x, columns, frame.padded_hw[1]),
            (share_y, rows, frame.padded_hw[0]),
        ):
            assert places.min() - 0.75 <= share * padded <= places.max() + 0.75


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "points or a box must be given, got neither"),
        ({"labels_PK": [[1]], "boxes_P4": [[0, 0, 1, 1]]}, "labels must come with points"),
        ({"points_PK2": [[1, 2]]}, r"points must have the shape \(P, K, 2\) of x, y, got shape \(1, 2\)"),
        ({"points_PK2": [[[1, 2]]], "labels_PK": [[1, 1]]}, r"of the shape \(1, 1\), got shape \(1, 2\)"),
        ({"points_PK2": [[[1, 2]]], "labels_PK": [[2]]}, r"labels must be 1 \(wanted\), 0 \(not wanted\).*, got 2"),
        ({"points_PK2": [[[200, 5]]]}, r"x from 0 to 199 and y from 0 to 99, got \(200, 5\)"),
        ({"points_PK2": [[[5, 5], [5, -0.6]]]}, r"got \(5, -0.6\)"),
        ({"points_PK2": [[[np.nan, 5]]]}, r"got \(nan, 5\)"),
        ({"points_PK2": [[[1, 2]], [[3, 4]]], "labels_PK": [[1], [0]]}, "prompt 1 has none"),
        ({"points_PK2": np.zeros((1, 0, 2))}, "prompt 0 has none"),
        ({"boxes_P4": [0, 0, 1, 1]}, r"boxes must have the shape \(P, 4\)"),
        ({"boxes_P4": [[5, 5, 5, 9]]}, r"boxes must not be empty, got \(5.0, 5.0, 5.0, 9.0\)"),
        ({"boxes_P4": [[1, 1, 2, 2], [9, 5, 5, 5]]}, r"not the other way round, got \(9.0, 5.0, 5.0, 5.0\)"),
        ({"boxes_P4": [[200, 5, 201, 9]]}, r"lie in the 200x100 image, in part at least, got \(200.0,"),
        ({"boxes_P4": [[5, -9, 9, -1]]}, "lie in the 200x100 image"),
        ({"boxes_P4": [[5, np.nan, 9, 9]]}, r"boxes must be finite, got \(5.0, nan"),
        ({"boxes_P4": [[5, 5, np.inf, 9]]}, "boxes must be finite"),
        (
            {"boxes_P4": [[5, 5, 9]]},
            r"boxes must have the shape \(P, 4\) of left, top, right, bottom, got shape \(1, 3\)",
        ),
        (
            {"boxes_P4": [[5, 5, 9, 9], [1, 2]]},
            r"boxes must be numbers of the shape \(P, 4\), got \[\[5, 5, 9, 9\], \[1",
        ),
        ({"points_PK2": [[[1, 2], [3]]]}, r"points must be numbers of the shape \(P, K, 2\), got"),
        ({"points_PK2": [[[1, 2]], [[3, 4], [5]]]}, r"points of prompt 1 must be numbers of the shape \(K, 2\), got"),
        (
            {"points_PK2": [[[1, 2]], [[3, 4, 5], [6, 7, 8]]]},
            r"points of prompt 1 must .* \(K, 2\) of x, y, got shape \(2, 3\)",
        ),
        ({"points_PK2": [[[1, 2]], [3, 4]]}, r"points of prompt 1 must .* \(K, 2\) of x, y, got shape \(2,\)"),
        (
            {"points_PK2": [[[1, 2]], [[3, 4], [5, 6]]], "labels_PK": [[1], [1]]},
            "labels must be one for each point, got 1 for the 2 of prompt 1",
        ),
        ({"points_PK2": [[[1, 2]], [[3, 4], [5, 6]]], "labels_PK": [[1]]}, "a list for each of the 2 prompts"),
        ({"points_PK2": [[[1, 2]]], "labels_PK": "wanted"}, r"labels must be numbers of the shape \(P, K\)"),
        ({"points_PK2": [[[1, 2]], []]}, "prompt 1 has none"),
        (
            {"boxes_P4": [[5, 5, 9, 9]], "points_PK2": [[[1, 2]], [[3, 4]]]},
            "each of the 2 prompts of the points, got 1",
        ),
    ],
)
def test_refusals(asked, complaint):
    with pytest.raises(ValueError, match=complaint):
        prompts_of(FRAME, **asked, click_px=6)

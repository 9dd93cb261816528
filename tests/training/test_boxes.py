"""Boxes of masks, and what boxes have in common."""

import numpy as np
import pytest
import torch

from tests.reference import prompts as reference
from tests.training.drawn_targets import boxes
from training.boxes import box_overlap, boxes_of_masks, to_centre_size, to_corners


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_boxes_of_masks_equal_the_loop(dtype):
    rng = np.random.default_rng(0)
    masks_NHW = torch.cat((boxes(6, (9, 14)), torch.from_numpy(rng.random((5, 9, 14)) < 0.03))).to(dtype)
    expected = [reference.centre_size(reference.box_of(mask_HW.bool().numpy())) for mask_HW in masks_NHW]
    np.testing.assert_allclose(boxes_of_masks(masks_NHW), expected, atol=1e-6)


def test_boxes_of_masks_at_their_limits():
    masks_NHW = torch.zeros(3, 4, 8, dtype=torch.bool)
    masks_NHW[1] = True
    masks_NHW[2, 3, 7] = True
    expected = [[0.0] * 4, [0.5, 0.5, 1.0, 1.0], [0.9375, 0.875, 0.125, 0.25]]
    assert boxes_of_masks(masks_NHW).tolist() == expected
    assert boxes_of_masks(masks_NHW[:0]).shape == (0, 4)
    assert boxes_of_masks(masks_NHW[:, :0]).tolist() == [[0.0] * 4] * 3


def test_overlap_equals_the_loop():
    rng = np.random.default_rng(1)
    drawn = rng.random((2, 50, 4)) * (0.8, 0.8, 0.5, 0.5)
    first, other = (to_corners(torch.from_numpy(boxes_N4)) for boxes_N4 in drawn)
    iou_NM, generalised_NM = box_overlap(first[:, None], other[None])
    for n, a in enumerate(first.tolist()):
        for m, b in enumerate(other.tolist()):
            assert (iou_NM[n, m], generalised_NM[n, m]) == pytest.approx(reference.box_overlap(a, b), abs=1e-12)
    assert iou_NM.min() == 0 and iou_NM.max() > 0.3 and generalised_NM.min() < -0.5


def test_boxes_without_area_have_nothing_in_common():
    point = torch.tensor([0.5, 0.5, 0.5, 0.5], requires_grad=True)
    iou, generalised = box_overlap(point, point)
    assert (iou.item(), generalised.item()) == (0, 0)
    generalised.backward()
    assert point.grad.isfinite().all()


def test_corners_and_centres_are_opposites():
    boxes_N4 = torch.rand(20, 4)
    torch.testing.assert_close(to_centre_size(to_corners(boxes_N4)), boxes_N4)

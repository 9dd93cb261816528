"""Masks over their photograph."""

from __future__ import annotations

import numpy as np
import pytest

from dico.masks import MaskSet
from dico.painting import paint
from tests.conftest import draw


def squares() -> MaskSet:
    masks_NHW = np.zeros((2, 20, 30), dtype=bool)
    masks_NHW[0, 6:14, 6:14] = True
    masks_NHW[1, 2:18, 2:28] = True
    return MaskSet.from_arrays(masks_NHW)


def test_small_masks_lie_over_large_ones_whatever_their_order():
    image = np.full((20, 30, 3), 100, dtype=np.uint8)
    painted = paint(image, squares())
    assert (painted[10, 10] != painted[10, 22]).any()
    np.testing.assert_array_equal(painted, paint(image, squares()[[1, 0]]))


def test_borders_are_white_and_the_rest_is_darker():
    painted = paint(np.full((20, 30, 3), 100, dtype=np.uint8), squares())
    assert (painted[2, 2:28] == 255).all() and (painted[6:14, 6] == 255).all()
    assert (painted[0] == 40).all()


def test_no_masks():
    assert paint(draw(0), MaskSet.empty((48, 64))).shape == (48, 64, 3)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"masks must be of the image's size \(48, 64\), got \(20, 30\)"):
        paint(draw(0), squares())

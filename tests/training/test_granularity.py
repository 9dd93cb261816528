from __future__ import annotations

import numpy as np
import pytest

from training.granularity import chosen

AREA_Q = np.array([10, 40, 160, 640, 2560, 10_240])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.2, 1), (0.29, 1), (0.31, 2), (0.55, 3), (1.0, 5)])
def test_a_fraction_is_an_area_on_a_scale_of_ratios(share, expected):
    assert chosen(AREA_Q, share) == chosen(AREA_Q, np.float32(share)) == expected


def test_of_two_that_are_as_near_the_smaller():
    assert chosen(np.array([1, 4, 16, 64]), 0.5) == 1
    assert chosen(np.array([7, 7, 7]), 0.5) == 0


def test_a_whole_number_is_a_place():
    assert [chosen(AREA_Q, level) for level in (0, 1, np.int64(5))] == [0, 1, 5]
    assert chosen(np.array([0, 5]), 0) == 0


def test_a_fraction_does_not_mean_an_empty_mask():
    assert chosen(np.array([0, 0, 4, 9]), 0.0) == 2
    assert chosen(np.array([0, 0]), 0.7) == 0


@pytest.mark.parametrize(
    ("granularity", "error", "complaint"),
    [
        (6, ValueError, "from 0, the part, to 5, the whole, or a fraction such as 0.5, got 6"),
        (-1, ValueError, "got -1"),
        (1.1, ValueError, r"within 0.0 and 1.0, or the whole number of a mask, got 1.1"),
        (float("nan"), ValueError, "got nan"),
        (True, TypeError, "must be a whole number or a fraction, from 0.0, the part, to 1.0, the whole, got True"),
        ("1", TypeError, "got '1'"),
    ],
)
def test_refusals(granularity, error, complaint):
    with pytest.raises(error, match=complaint):
        chosen(AREA_Q, granularity)

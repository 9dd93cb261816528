from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.simulated_clicks import Click, first_click, next_click


def distance_to_outside(mask_HW, x, y):
    """By looking at every pixel outside the mask, and around the image."""
    outside = np.argwhere(~np.pad(mask_HW, 1)) - 1
    return np.sqrt(((outside - (y, x)) ** 2).sum(axis=1).min())


@pytest.mark.parametrize("seed", range(5))
def test_the_first_click_is_the_deepest_pixel(seed):
    rng = np.random.default_rng(seed)
    mask_HW = rng.random((14, 19)) < 0.8
    click = first_click(mask_HW)
    depths = {(x, y): distance_to_outside(mask_HW, x, y) for y, x in np.argwhere(mask_HW)}
    assert depths[click.x, click.y] == pytest.approx(max(depths.values())) and click.wanted
    assert (click.y, click.x) == min((y, x) for (x, y), depth in depths.items() if depth == max(depths.values()))


def test_the_border_of_the_image_is_outside():
    assert first_click(np.ones((5, 7), dtype=bool)) == Click(2, 2, True)
    single_HW = np.zeros((3, 4), dtype=bool)
    single_HW[2, 3] = True
    assert first_click(single_HW) == Click(3, 2, True)
    with pytest.raises(ValueError, match="got an empty mask"):
        first_click(np.zeros((3, 4), dtype=bool))


def test_the_next_click_is_in_the_deeper_error():
    truth_HW, mask_HW = np.zeros((2, 12, 20), dtype=bool)
    truth_HW[2:9, 2:9] = True  # all of it is missing: 4 deep
    mask_HW[2:7, 12:17] = True  # 3 deep, and too much
    assert next_click(truth_HW, mask_HW, ()) == Click(5, 5, True)
    mask_HW[2:9, 2:9] = True
    assert next_click(truth_HW, mask_HW, ()) == Click(14, 4, False)
    assert next_click(truth_HW, truth_HW, ()) is None


def test_no_pixel_is_clicked_twice():
    truth_HW = np.zeros((3, 5), dtype=bool)
    truth_HW[1, 1:4] = True
    clicks = []
    while (click := next_click(truth_HW, np.zeros_like(truth_HW), clicks)) is not None:
        clicks.append(click)
    assert [(click.x, click.y) for click in clicks] == [(1, 1), (2, 1), (3, 1)]

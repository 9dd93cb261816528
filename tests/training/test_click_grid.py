from __future__ import annotations

import numpy as np
import pytest

from training.click_grid import click_grid, crops_of
from training.config import AutomaticConfig


@pytest.mark.parametrize("size_hw", [(100, 150), (7, 300), (1, 1), (3, 2)])
def test_crops_of_a_layer_cover_the_image(size_hw):
    config = AutomaticConfig(crop_layers=2, crop_points_divisor=2, points_per_side=8)
    crops = crops_of(size_hw, config)
    assert crops[0].box_xyxy == (0, 0, size_hw[1], size_hw[0]) and crops[0].area_px == size_hw[0] * size_hw[1]
    for points in (4, 2):
        covered_HW = np.zeros(size_hw, dtype=int)
        layer = [crop for crop in crops if crop.points_per_side == points]
        for x0, y0, x1, y1 in (crop.box_xyxy for crop in layer):
            assert 0 <= x0 < x1 <= size_hw[1] and 0 <= y0 < y1 <= size_hw[0]
            covered_HW[y0:y1, x0:x1] += 1
        assert covered_HW.min() >= 1
    if min(size_hw) >= 100:
        assert len(crops) == 1 + 4 + 16


def test_crops_overlap():
    first, second = crops_of((100, 150), AutomaticConfig(crop_layers=1, crop_overlap=0.3))[1:3]
    assert first.box_xyxy[2] - second.box_xyxy[0] == 30 and second.box_xyxy[2] == 150
    assert first.area_px < 100 * 150 / 2


def test_no_layers_is_the_image_alone():
    assert len(crops_of((100, 150), AutomaticConfig())) == 1


def test_clicks_are_evenly_spaced():
    points_P2 = click_grid((10, 40), 4)
    assert points_P2.shape == (16, 2)
    assert sorted(set(points_P2[:, 0])) == [4.5, 14.5, 24.5, 34.5] and sorted(set(points_P2[:, 1])) == [
        0.75,
        3.25,
        5.75,
        8.25,
    ]
    assert click_grid((1, 1), 1).tolist() == [[0, 0]]

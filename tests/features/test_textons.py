import numpy as np
import pytest

from dico.features.textons import filter_responses, texton_map


def stripes(size_hw=(48, 80), period=6):
    """Lying stripes on the left, upright ones on the right; the mean lightness is the same."""
    y_HW, x_HW = np.indices(size_hw)
    phase_HW = np.where(x_HW < size_hw[1] // 2, y_HW, x_HW)
    return (50 + 25 * np.sin(2 * np.pi * phase_HW / period)).astype(np.float32)


def shares(textons_HW, num_textons):
    return np.bincount(textons_HW.ravel(), minlength=num_textons) / textons_HW.size


def overlap(one_HW, other_HW, num_textons):
    return float(np.minimum(shares(one_HW, num_textons), shares(other_HW, num_textons)).sum())


@pytest.mark.parametrize("num_textons", [16, 24])
def test_textured_halves_have_their_own_textons(num_textons):
    textons_HW = texton_map(stripes(), num_textons)
    left_HW, right_HW = textons_HW[6:-6, 6:36], textons_HW[6:-6, 44:74]
    assert overlap(left_HW, right_HW, num_textons) < 0.05
    assert overlap(left_HW[:18], left_HW[18:], num_textons) > 0.8


def test_noise_has_other_textons_than_calm():
    lightness_HW = np.full((40, 80), 50, dtype=np.float32)
    lightness_HW[:, 40:] += np.random.default_rng(0).normal(0, 15, (40, 40)).astype(np.float32)
    textons_HW = texton_map(lightness_HW, 16)
    assert overlap(textons_HW[:, :30], textons_HW[:, 50:], 16) < 0.1


def test_one_lightness_is_one_texton():
    assert len(np.unique(texton_map(np.full((20, 30), 40, dtype=np.float32), 24))) == 1


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (2, 2), (3, 100), (70, 90)])
def test_labels_are_in_range(size_hw):
    lightness_HW = np.random.default_rng(0).uniform(0, 100, size_hw).astype(np.float32)
    textons_HW = texton_map(lightness_HW, 24)
    assert textons_HW.dtype == np.int32 and textons_HW.shape == size_hw
    assert textons_HW.min() >= 0 and textons_HW.max() < min(24, lightness_HW.size)


def test_the_same_image_gives_the_same_map():
    assert np.array_equal(texton_map(stripes(), 24), texton_map(stripes(), 24))


def test_flat_images_hardly_respond():
    # Not 0: a second derivative of a Gaussian that ends somewhere does not sum to 0.
    flat, faint = np.full((9, 9), 77, dtype=np.float32), np.zeros((9, 9), dtype=np.float32)
    faint[:, 5:] = 1
    assert 5 * np.abs(filter_responses(flat)).max() < np.abs(filter_responses(faint)).max()


def test_responses_of_an_image_turned_are_those_of_the_image_in_another_order():
    lightness_HW = np.random.default_rng(0).uniform(0, 100, (20, 20)).astype(np.float32)
    responses_HWF = np.sort(filter_responses(lightness_HW), axis=2)
    turned_HWF = np.sort(filter_responses(np.rot90(lightness_HW)), axis=2)
    assert turned_HWF == pytest.approx(np.rot90(responses_HWF), abs=1e-3)


def test_responses_hardly_depend_on_the_mean_lightness():
    lightness_HW = np.random.default_rng(0).uniform(0, 50, (15, 15)).astype(np.float32)
    assert filter_responses(lightness_HW + 40) == pytest.approx(filter_responses(lightness_HW), abs=0.03)


def test_ten_times_the_contrast_is_much_less_than_ten_times_the_response():
    step_HW = np.zeros((21, 21), dtype=np.float32)
    step_HW[:, 10:] = 1
    lengths = [np.linalg.norm(filter_responses(c * step_HW), axis=2).max() for c in (1, 10, 100)]
    assert lengths[0] < lengths[1] < lengths[2] < 5 * lengths[1]
    assert np.isfinite(lengths).all()

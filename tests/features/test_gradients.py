import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dico.features import gradients
from dico.features.gradients import NUM_ORIENTATIONS, one_hot, oriented_gradients, soft_bins
from tests.reference.gradients import gradients_by_loop


def by_loop(bins_BHW, radius):
    return gradients_by_loop(
        bins_BHW,
        radius,
        num_orientations=NUM_ORIENTATIONS,
        window=gradients._WINDOW,
        offset=gradients._OFFSET,
        truncate=gradients._TRUNCATE,
    )


def random_bins(seed, shape_BHW):
    bins_BHW = np.random.default_rng(seed).uniform(0, 1, shape_BHW).astype(np.float32)
    return bins_BHW / bins_BHW.sum(axis=0)


def two_blocks(size_hw=(8, 10)):
    labels_HW = np.zeros(size_hw, dtype=np.int32)
    labels_HW[:, size_hw[1] // 2 :] = 1
    return one_hot(labels_HW, 2)


INPUTS = {
    "random": random_bins(0, (4, 9, 7)),
    "tied": one_hot(np.indices((8, 8)).sum(axis=0) % 2, 2),
    "sparse": one_hot(np.random.default_rng(1).integers(0, 5, (7, 9)), 5),
    "uniform": one_hot(np.zeros((6, 6), dtype=int), 3),
    "two blocks": two_blocks(),
    "row": random_bins(2, (3, 1, 7)),
    "column": random_bins(3, (3, 7, 1)),
    "two by two": random_bins(4, (2, 2, 2)),
    "pixel": random_bins(5, (2, 1, 1)),
}


@pytest.mark.parametrize("radius", [1, 2, 3.5])
@pytest.mark.parametrize("bins_BHW", INPUTS.values(), ids=INPUTS.keys())
def test_equals_the_loop(bins_BHW, radius):
    # The square root of a float32 sum: near 0 its error is the root of the sum's.
    assert oriented_gradients(bins_BHW, radius) == pytest.approx(by_loop(bins_BHW, radius), abs=2e-3)


@pytest.mark.parametrize("radius", [0.5, 2, 7])
@pytest.mark.parametrize("bins_BHW", INPUTS.values(), ids=INPUTS.keys())
def test_windows_are_gaussian_filters_with_their_edges_repeated(bins_BHW, radius):
    sigma = gradients._WINDOW * radius
    for bin_HW in bins_BHW:
        filtered_HW = gaussian_filter(bin_HW, sigma, mode="nearest", truncate=gradients._TRUNCATE)
        (window_HW,) = gradients._windows(bin_HW[None], gradients._half_gaussian(sigma), 3)
        assert window_HW == pytest.approx(np.pad(filtered_HW, 3, mode="edge"), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("bins_BHW", INPUTS.values(), ids=INPUTS.keys())
def test_empty_bins_change_nothing(bins_BHW):
    with_empty_BHW = np.insert(bins_BHW, [0, 1, 1], 0, axis=0)
    assert np.array_equal(oriented_gradients(with_empty_BHW, 2), oriented_gradients(bins_BHW, 2))


@pytest.mark.parametrize("bins_BHW", INPUTS.values(), ids=INPUTS.keys())
def test_values_and_type(bins_BHW):
    gradients_OHW = oriented_gradients(bins_BHW, 4)
    assert gradients_OHW.dtype == np.float32 and gradients_OHW.shape == (NUM_ORIENTATIONS, *bins_BHW.shape[1:])
    assert gradients_OHW.min() >= 0 and gradients_OHW.max() <= 1 + 1e-5


def test_no_change_is_no_evidence():
    assert oriented_gradients(INPUTS["uniform"], 4).max() == 0


@pytest.mark.parametrize("angle_o", range(NUM_ORIENTATIONS))
def test_a_straight_border_answers_most_in_its_own_orientation(angle_o):
    angle = np.pi * angle_o / NUM_ORIENTATIONS
    y_HW, x_HW = np.mgrid[-30:31, -30:31]
    beyond_HW = (np.sin(angle) * y_HW + np.cos(angle) * x_HW > 0).astype(int)
    # Windows lie on whole pixels: a small radius cannot tell neighbouring orientations apart.
    at_the_border_O = oriented_gradients(one_hot(beyond_HW, 2), 16)[:, 28:33, 28:33].mean(axis=(1, 2))
    assert at_the_border_O.argmax() == angle_o
    assert at_the_border_O[angle_o] > 0.7
    assert at_the_border_O[(angle_o + NUM_ORIENTATIONS // 2) % NUM_ORIENTATIONS] < 0.5 * at_the_border_O[angle_o]


@pytest.mark.parametrize("radius", [2, 4, 8])
def test_a_step_peaks_at_the_step_and_fades_with_distance(radius):
    strength_W = oriented_gradients(two_blocks((9, 61)), radius)[0, 4]
    assert strength_W.argmax() in (29, 30)
    assert strength_W[29] == pytest.approx(strength_W[30], rel=0.3)
    assert (np.diff(strength_W[30 : 30 + radius]) <= 1e-6).all()
    assert strength_W[: 29 - 2 * radius].max() < 0.01 and strength_W[31 + 2 * radius :].max() < 0.01


def test_half_a_step_is_half_as_strong():
    full = oriented_gradients(two_blocks(), 2)
    mixed_BHW = 0.5 * two_blocks() + 0.5 * one_hot(np.zeros((8, 10), dtype=int), 2)
    assert 0 < oriented_gradients(mixed_BHW, 2).max() < 0.8 * full.max()


def test_turning_the_image_turns_the_orientations():
    bins_BHW = random_bins(7, (3, 12, 12))
    turned_OHW = oriented_gradients(np.ascontiguousarray(np.rot90(bins_BHW, axes=(1, 2))), 3)
    expected_OHW = np.rot90(np.roll(oriented_gradients(bins_BHW, 3), NUM_ORIENTATIONS // 2, axis=0), axes=(1, 2))
    assert turned_OHW == pytest.approx(expected_OHW, abs=1e-3)


def test_the_input_stays_as_it_is():
    bins_BHW = random_bins(0, (4, 9, 7))
    before_BHW = bins_BHW.copy()
    oriented_gradients(bins_BHW, 3)
    assert np.array_equal(bins_BHW, before_BHW)


@pytest.mark.parametrize("num_bins", [2, 5, 10])
def test_soft_bins_keep_the_value(num_bins):
    values_HW = np.random.default_rng(0).uniform(-3, 7, (5, 6))
    bins_BHW = soft_bins(values_HW, -3, 7, num_bins)
    assert bins_BHW.dtype == np.float32 and bins_BHW.min() >= 0
    assert bins_BHW.sum(axis=0) == pytest.approx(np.ones((5, 6)), abs=1e-6)
    assert (bins_BHW > 0).sum(axis=0).max() <= 2
    centres_B = np.linspace(-3, 7, num_bins)
    assert np.tensordot(centres_B, bins_BHW, axes=1) == pytest.approx(values_HW, abs=1e-5)


def test_soft_bins_clip_what_is_outside():
    bins_BHW = soft_bins(np.array([[-99.0, 0.0, 10.0, 99.0]]), 0, 10, 4)
    assert bins_BHW[:, 0].T.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_one_hot():
    bins_BHW = one_hot(np.array([[2, 0]], dtype=np.int32), 3)
    assert bins_BHW.dtype == np.float32
    assert bins_BHW[:, 0].T.tolist() == [[0, 0, 1], [1, 0, 0]]

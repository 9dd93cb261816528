import numpy as np
import pytest
from scipy import ndimage

from dico.features.superpixels import find_borders, label_histograms, normal_orientation, superpixels
from tests.reference.superpixels import borders_by_loop, histograms_by_loop

EIGHT = np.ones((3, 3))


def squares(side=6, rows=1, columns=2):
    """Square superpixels, numbered in reading order."""
    return np.arange(rows * columns, dtype=np.int32).reshape(rows, columns).repeat(side, axis=0).repeat(side, axis=1)


MAPS = {
    "random": np.random.default_rng(0).integers(0, 6, (9, 11)).astype(np.int32),
    "few labels": np.random.default_rng(1).integers(0, 2, (8, 5)).astype(np.int32),
    "every pixel its own": np.arange(20, dtype=np.int32).reshape(4, 5),
    "uniform": np.zeros((4, 6), dtype=np.int32),
    "two blocks": squares(),
    "grid": squares(3, 3, 4),
    "row": np.array([[0, 0, 1, 2, 2, 0]], dtype=np.int32),
    "column": np.array([[1], [0], [0], [2]], dtype=np.int32),
    "two by two": np.array([[0, 1], [1, 0]], dtype=np.int32),
    "pixel": np.zeros((1, 1), dtype=np.int32),
}


@pytest.mark.parametrize("labels_HW", MAPS.values(), ids=MAPS.keys())
def test_borders_equal_the_loop(labels_HW):
    borders, expected = find_borders(labels_HW), borders_by_loop(labels_HW)
    assert [tuple(pair) for pair in borders.edges_E2.tolist()] == sorted(expected)
    assert borders.length_E.tolist() == [len(expected[pair]) for pair in sorted(expected)]
    found = {pair: [] for pair in expected}
    for edge, pixels in zip(borders.edge_P, borders.pixels_P2.tolist(), strict=True):
        found[tuple(borders.edges_E2[edge].tolist())].append(tuple(pixels))
    assert {pair: sorted(pixels) for pair, pixels in found.items()} == {
        pair: sorted(pixels) for pair, pixels in expected.items()
    }


def test_the_border_of_two_squares():
    borders = find_borders(squares(side=6))
    assert borders.edges_E2.tolist() == [[0, 1]] and borders.length_E.tolist() == [6]
    assert borders.pixels_P2.tolist() == [[12 * y + 5, 12 * y + 6] for y in range(6)]


def test_four_squares_share_four_borders():
    borders = find_borders(squares(4, 2, 2))
    assert borders.edges_E2.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]  # not across the corner
    assert borders.length_E.tolist() == [4, 4, 4, 4]


def test_the_mean_is_per_border():
    borders = find_borders(np.array([[0, 0, 1], [2, 2, 1]], dtype=np.int32))
    values_P = np.array([{(0, 1): 5, (0, 2): 1, (1, 2): 7}[tuple(borders.edges_E2[e])] for e in borders.edge_P])
    values_P[np.flatnonzero(borders.edge_P == 1)[0]] = 3
    assert borders.mean(values_P).tolist() == [5, 2, 7]


def test_no_border_has_no_mean_and_no_orientation():
    borders = find_borders(MAPS["uniform"])
    assert borders.edges_E2.shape == (0, 2) and borders.pixels_P2.shape == (0, 2)
    assert borders.mean(np.zeros(0)).shape == (0,)
    assert normal_orientation(borders, 6, 8).shape == (0,)


def test_orientation_is_across_the_border():
    upright = squares(side=12)
    assert set(normal_orientation(find_borders(upright), 24, 8)) == {0}
    lying = np.ascontiguousarray(upright.T)
    assert set(normal_orientation(find_borders(lying), 12, 8)) == {4}


@pytest.mark.parametrize("angle_o", range(8))
def test_a_slanted_border_has_its_own_orientation(angle_o):
    angle = np.pi * angle_o / 8
    y_HW, x_HW = np.mgrid[-30:31, -30:31]
    labels_HW = (np.sin(angle) * y_HW + np.cos(angle) * x_HW > 0).astype(np.int32)
    orientation_P = normal_orientation(find_borders(labels_HW), 61, 8)
    off_P = np.minimum((orientation_P - angle_o) % 8, (angle_o - orientation_P) % 8)
    # Pieces are short, and those that the grid of pieces cuts off are shorter.
    assert (off_P <= 1).mean() > 0.9 and np.bincount(orientation_P).argmax() == angle_o


def test_a_corner_is_measured_in_pieces():
    labels_HW = np.zeros((48, 48), dtype=np.int32)
    labels_HW[24:, 24:] = 1
    borders = find_borders(labels_HW)
    orientation_P = normal_orientation(borders, 48, 8)
    y_P, x_P = np.divmod(borders.pixels_P2[:, 0], 48)
    assert set(orientation_P[y_P > 34]) == {0} and set(orientation_P[x_P > 34]) == {4}


@pytest.mark.parametrize("labels_HW", MAPS.values(), ids=MAPS.keys())
@pytest.mark.parametrize("num_orientations", [1, 8])
def test_orientations_are_in_range(labels_HW, num_orientations):
    borders = find_borders(labels_HW)
    orientation_P = normal_orientation(borders, labels_HW.shape[1], num_orientations)
    assert orientation_P.shape == borders.edge_P.shape
    assert ((orientation_P >= 0) & (orientation_P < num_orientations)).all()


@pytest.mark.parametrize("labels_HW", MAPS.values(), ids=MAPS.keys())
def test_histograms_equal_the_loop(labels_HW):
    labels_HW = np.unique(labels_HW, return_inverse=True)[1].reshape(labels_HW.shape).astype(np.int32)
    words_HW = np.random.default_rng(3).integers(0, 4, labels_HW.shape)
    assert label_histograms(labels_HW, words_HW, 5) == pytest.approx(
        np.array(histograms_by_loop(labels_HW, words_HW, 5))
    )


def ridges():
    """Evidence 1 on a cross, 0 in its four fields."""
    boundary_HW = np.zeros((21, 31))
    boundary_HW[10], boundary_HW[:, 15] = 1, 1
    return boundary_HW


@pytest.mark.parametrize("sigma", [0, 1, 2])
def test_basins_end_at_ridges(sigma):
    labels_HW = superpixels(ridges(), sigma=sigma)
    corners = [labels_HW[:10, :15], labels_HW[:10, 16:], labels_HW[11:, :15], labels_HW[11:, 16:]]
    assert [np.unique(corner).tolist() for corner in corners] == [[0], [1], [2], [3]]
    assert np.unique(labels_HW).tolist() == [0, 1, 2, 3]


def test_a_slanted_valley_is_one_basin():
    y_HW, x_HW = np.indices((7, 7))
    assert superpixels(np.abs(y_HW - x_HW) / 7, sigma=0).max() == 0


def test_smoothing_makes_fewer_superpixels():
    boundary_HW = np.random.default_rng(0).uniform(0, 1, (60, 50))
    counts = [superpixels(boundary_HW, sigma=sigma).max() + 1 for sigma in (0, 1, 2, 4)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 4


@pytest.mark.parametrize("sigma", [0, 1.0])
@pytest.mark.parametrize("size_hw", [(40, 30), (1, 50), (50, 1), (2, 2)])
def test_superpixels_are_connected_and_numbered_without_gaps(size_hw, sigma):
    labels_HW = superpixels(np.random.default_rng(1).uniform(0, 1, size_hw).astype(np.float32), sigma=sigma)
    assert labels_HW.dtype == np.int32 and labels_HW.shape == size_hw
    assert np.unique(labels_HW).tolist() == list(range(labels_HW.max() + 1))
    for label in range(labels_HW.max() + 1):
        assert ndimage.label(labels_HW == label, structure=EIGHT)[1] == 1


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (2, 2), (30, 20)])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_uniform_evidence_is_one_superpixel(size_hw, value):
    assert np.array_equal(superpixels(np.full(size_hw, value), sigma=1), np.zeros(size_hw))

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_rle

from dico.mask_codes import decode_mask, encode_mask
from dico.rle import decode_counts, encode_counts, masks_at, nearest_source, resize_rles, run_ends
from tests.reference.resize import resize_nearest

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))
sides = st.integers(1, 12)


@given(masks)
def test_counts_are_the_run_lengths_of_the_columns(mask_HW):
    counts = decode_counts(encode_mask(mask_HW))
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert np.array_equal(values, mask_HW.ravel(order="F"))


@given(masks)
def test_codes_equal_those_of_pycocotools(mask_HW):
    rle = encode_mask(mask_HW)
    assert encode_counts(decode_counts(rle)) == rle


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30))
def test_any_counts_survive_the_round_trip(counts):
    assert decode_counts(encode_counts(np.array(counts, dtype=np.uint32))).tolist() == counts


def test_long_runs_equal_pycocotools():
    counts = [0, 50_000_000, 3, 100_000_000, 1, 49_999_996]
    expected = coco_rle.frPyObjects({"size": [10_000, 20_000], "counts": counts}, 10_000, 20_000)["counts"]
    assert encode_counts(np.array(counts, dtype=np.uint32)) == expected


@pytest.mark.parametrize("code", [b"\x10", b"2\xff", b"P", b"_", b"PPPPPPPPPPPP1", b"O"])
def test_a_damaged_code_is_refused(code):
    with pytest.raises(ValueError, match="compressed COCO code"):
        decode_counts(code)


def test_an_empty_code_has_no_runs():
    assert decode_counts(b"").tolist() == []
    assert encode_counts(np.zeros(0, dtype=np.uint32)) == b""


def test_run_ends():
    mask_HW = np.array([[0, 1], [0, 1], [1, 0]], dtype=bool)
    assert run_ends(encode_mask(mask_HW), (3, 2)).tolist() == [2, 5, 6]


@pytest.mark.parametrize("rle", [encode_mask(np.ones((2, 2))), b""])
def test_run_ends_of_another_size_is_refused(rle):
    with pytest.raises(ValueError, match=r"\(H, W\) = \(3, 2\), got [04] pixels"):
        run_ends(rle, (3, 2))


@given(masks, sides, sides)
def test_resizing_equals_the_dense_reference(mask_HW, h, w):
    resized = resize_rles([encode_mask(mask_HW)], mask_HW.shape, (h, w))
    assert resized == (encode_mask(resize_nearest(mask_HW, (h, w))),)


def test_resizing_to_the_same_size_changes_nothing():
    rles = [encode_mask(np.eye(7, 5, k)) for k in range(-2, 3)]
    assert resize_rles(iter(rles), (7, 5), (7, 5)) == tuple(rles)


def test_doubling_doubles_every_pixel():
    mask_HW = np.array([[1, 0, 1], [0, 0, 1]], dtype=bool)
    doubled = decode_mask((4, 6), resize_rles([encode_mask(mask_HW)], (2, 3), (4, 6))[0])
    assert np.array_equal(doubled, np.kron(mask_HW, np.ones((2, 2))).astype(bool))


def test_a_large_image_needs_no_dense_mask():
    (rle,) = resize_rles([encode_mask(np.array([[1, 0], [0, 1]]))], (2, 2), (100_000, 100_000))
    assert coco_rle.area({"size": [100_000, 100_000], "counts": rle}) == 5_000_000_000 % 2**32


def test_resizing_nothing():
    assert resize_rles([], (2, 2), (5, 5)) == ()


def test_a_size_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"positive, got \(2, 2\) and \(0, 5\)"):
        resize_rles([], (2, 2), (0, 5))


def test_nearest_source_is_sorted_and_symmetric():
    for n_from in range(1, 9):
        for n_to in range(1, 9):
            source = nearest_source(n_from, n_to)
            assert (np.diff(source) >= 0).all()
            assert 0 <= source[0] <= source[-1] < n_from


@given(st.integers(0, 3).flatmap(lambda n: arrays(bool, st.tuples(st.just(n), sides, sides))))
def test_masks_at_every_pixel_are_the_masks(masks_NHW):
    size_hw = masks_NHW.shape[1:]
    y_K, x_K = np.indices(size_hw).reshape(2, -1)
    inside_NK = masks_at([encode_mask(mask_HW) for mask_HW in masks_NHW], size_hw, x_K, y_K)
    assert inside_NK.dtype == bool and np.array_equal(inside_NK, masks_NHW.reshape(len(masks_NHW), x_K.size))


@pytest.mark.parametrize(("x", "y"), [(-1, 0), (3, 0), (0, -1), (0, 2)])
def test_masks_have_no_pixels_beside_the_image(x, y):
    codes = [encode_mask(np.ones((2, 3), dtype=bool))]
    with pytest.raises(ValueError, match=rf"\(H, W\) = \(2, 3\), got x \[{x}\], y \[{y}\]"):
        masks_at(codes, (2, 3), np.array([x]), np.array([y]))
    assert masks_at(codes, (2, 3), np.zeros(0, dtype=int), np.zeros(0, dtype=int)).shape == (1, 0)

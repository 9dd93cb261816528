import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dico.mask_codes import decode_mask, encode_mask
from dico.window import decode_window, encode_window
from tests.reference.resize import resize_bilinear, resize_nearest


@st.composite
def masks_with_box(draw):
    mask_HW = draw(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)))
    height, width = mask_HW.shape
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return mask_HW, (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


@given(masks_with_box(), st.integers(1, 12), st.integers(1, 12))
def test_decoding_a_window_equals_cropping_and_resizing(mask_and_box, h, w):
    mask_HW, (x0, y0, x1, y1) = mask_and_box
    window_hw = decode_window(encode_mask(mask_HW), mask_HW.shape, (x0, y0, x1, y1), (h, w))
    assert np.array_equal(window_hw, resize_nearest(mask_HW[y0:y1, x0:x1], (h, w)))


@given(masks_with_box())
def test_encoding_a_window_at_full_resolution_pastes_it(mask_and_box):
    mask_HW, (x0, y0, x1, y1) = mask_and_box
    pasted_HW = np.zeros_like(mask_HW)
    pasted_HW[y0:y1, x0:x1] = mask_HW[y0:y1, x0:x1]
    assert encode_window(mask_HW[y0:y1, x0:x1], mask_HW.shape, (x0, y0, x1, y1)) == encode_mask(pasted_HW)


@given(
    masks_with_box(),
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(0, 1, width=32)),
)
def test_any_window_gives_a_canonical_code_inside_the_box(mask_and_box, soft_hw):
    mask_HW, (x0, y0, x1, y1) = mask_and_box
    rle = encode_window(soft_hw, mask_HW.shape, (x0, y0, x1, y1))
    pasted_HW = decode_mask(mask_HW.shape, rle)
    assert encode_mask(pasted_HW) == rle
    pasted_HW[y0:y1, x0:x1] = False
    assert not pasted_HW.any()


@given(
    masks_with_box(),
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(0, 1, width=16)),
)
def test_a_window_is_resized_bilinearly_and_cut(mask_and_box, soft_hw):
    mask_HW, (x0, y0, x1, y1) = mask_and_box
    found_HW = decode_mask(mask_HW.shape, encode_window(soft_hw, mask_HW.shape, (x0, y0, x1, y1)))[y0:y1, x0:x1]
    expected_HW = resize_bilinear(soft_hw.astype(np.float64), (y1 - y0, x1 - x0))
    clear_HW = abs(expected_HW - 0.5) > 1e-5
    assert np.array_equal(found_HW[clear_HW], expected_HW[clear_HW] > 0.5)


@given(
    masks_with_box(),
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(0, 1, width=16)),
    st.tuples(*[st.integers(0, 3)] * 4),
)
def test_beside_a_part_of_a_window_there_is_nothing(mask_and_box, soft_hw, margins):
    mask_HW, box = mask_and_box
    above, below, left, right = margins
    window_hw = np.pad(soft_hw, ((above, below), (left, right)))
    of_part = encode_window(soft_hw, mask_HW.shape, box, window_hw=window_hw.shape, corner_hw=(above, left))
    assert of_part == encode_window(window_hw, mask_HW.shape, box)


@pytest.mark.parametrize("corner_hw", [(-1, 0), (0, -1), (2, 0), (0, 3)])
def test_a_part_that_leaves_the_window_is_refused(corner_hw):
    with pytest.raises(ValueError, match=r"soft_hw \(2, 2\) at .* must lie in the window of \(h, w\) = \(3, 4\)"):
        encode_window(np.ones((2, 2)), (6, 8), (0, 0, 8, 6), window_hw=(3, 4), corner_hw=corner_hw)


def test_a_coarse_window_gets_a_straight_border_between_its_pixels():
    rle = encode_window(np.array([[0.0, 1.0]]), (2, 8), (0, 0, 8, 2))
    assert decode_mask((2, 8), rle)[0].tolist() == [False] * 4 + [True] * 4


def test_a_coarse_diagonal_is_smoother_than_nearest_pixels():
    true_HW = np.tri(64, dtype=bool)
    soft_hw = true_HW.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    smooth_HW = decode_mask((64, 64), encode_window(soft_hw, (64, 64), (0, 0, 64, 64)))
    blocky_HW = np.kron(soft_hw > 0.5, np.ones((8, 8))).astype(bool)
    assert 2 * (smooth_HW != true_HW).sum() < (blocky_HW != true_HW).sum()


def test_one_half_is_background():
    assert not decode_mask((1, 1), encode_window(np.array([[0.5]]), (1, 1), (0, 0, 1, 1))).any()


@pytest.mark.parametrize("box", [(0, 0, 4, 2), (2, 0, 2, 2), (-1, 0, 2, 2), (0, 0, 3, 3)])
def test_a_box_that_is_empty_or_leaves_the_image_is_refused(box):
    with pytest.raises(ValueError, match=r"box_xyxy must be a box inside an image of \(H, W\) = \(2, 3\)"):
        decode_window(encode_mask(np.ones((2, 3))), (2, 3), box, (1, 1))
    with pytest.raises(ValueError, match="box_xyxy must be"):
        encode_window(np.ones((1, 1)), (2, 3), box)


def test_a_code_of_another_size_is_refused():
    with pytest.raises(ValueError, match="got 4 pixels"):
        decode_window(encode_mask(np.ones((2, 2))), (3, 3), (0, 0, 1, 1), (1, 1))

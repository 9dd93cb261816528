"""Views of images and masks: the kernel against a slow count of areas, and masks that move with what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion

from dico.image import resize_image
from dico.mask_codes import decode_mask, encode_mask
from training.config import DataConfig
from training.data.mask_crops import View, crop_rle, paint
from training.data.transforms import change_colours, crop_image, crop_masks, draw_view


def covered_share(mask_HW, view):
    """The slow way: how much of each pixel of the view the mask covers, as fractions of whole numbers."""
    (height, width), (resized_h, resized_w) = view.original_hw, view.resized_hw
    fine_HW = np.repeat(np.repeat(mask_HW, resized_h, axis=0), resized_w, axis=1)
    share_HW = fine_HW.reshape(resized_h, height, resized_w, width).mean(axis=(1, 3))
    top, left = view.crop_yx
    share_HW = share_HW[top : top + view.crop_hw[0], left : left + view.crop_hw[1]]
    return share_HW[:, ::-1] if view.flipped else share_HW


@st.composite
def views(draw):
    side = st.integers(1, 13)
    original_hw, resized_hw = (draw(st.tuples(side, side)) for _ in range(2))
    crop_hw = tuple(draw(st.integers(1, length)) for length in resized_hw)
    crop_yx = tuple(draw(st.integers(0, whole - part)) for whole, part in zip(resized_hw, crop_hw, strict=True))
    return View(original_hw, resized_hw, crop_yx, crop_hw, draw(st.booleans()))


@given(views(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_a_crop_has_the_pixels_of_which_half_is_covered(view, seed, density):
    mask_HW = np.random.default_rng(seed).random(view.original_hw) < density
    rle, area_px = crop_rle(encode_mask(mask_HW), view)
    expected_HW = covered_share(mask_HW, view) >= 0.5 - 1e-9
    np.testing.assert_array_equal(decode_mask(view.crop_hw, rle), expected_HW)
    assert area_px == expected_HW.sum()
    assert rle == encode_mask(expected_HW)  # equal masks have equal codes, by which copies are found
    painted_HW = np.zeros(view.crop_hw, dtype=bool)
    paint(rle, painted_HW)
    np.testing.assert_array_equal(painted_HW, expected_HW)


def test_the_mask_of_a_photograph_of_24_megapixels():
    mask_HW = np.zeros((4000, 6000), dtype=bool)
    mask_HW[1000:3000, 1500:4500] = True
    view = View((4000, 6000), (400, 600), (50, 100), (300, 320), flipped=True)
    expected_HW = np.zeros((400, 600), dtype=bool)
    expected_HW[100:300, 150:450] = True
    rle, _ = crop_rle(encode_mask(mask_HW), view)
    np.testing.assert_array_equal(decode_mask((300, 320), rle), expected_HW[50:350, 100:420][:, ::-1])


@pytest.mark.parametrize("rle", [b"", b"1", b"\xff\xff", encode_mask(np.ones((4, 7), dtype=bool)), b"o"])
def test_damaged_codes_are_refused(rle):
    view = View((4, 6), (4, 6), (0, 0), (4, 6))
    with pytest.raises(ValueError, match="rle must"):
        crop_rle(rle, view)
    with pytest.raises(ValueError, match="rle must"):
        paint(rle, np.zeros((4, 6), dtype=bool))


@pytest.mark.parametrize("changes", [{"crop_hw": (5, 6)}, {"crop_yx": (-1, 0)}, {"crop_hw": (0, 1)}])
def test_a_crop_outside_of_the_image_is_refused(changes):
    fields = {"original_hw": (4, 6), "resized_hw": (4, 6), "crop_yx": (0, 0), "crop_hw": (4, 6), **changes}
    with pytest.raises(ValueError, match="crop must be a part of the resized image"):
        View(**fields)


def drawn(size_hw, box_xyxy):
    """A dark image with a bright box, and the code of the box."""
    image, mask_HW = np.full((*size_hw, 3), 20, dtype=np.uint8), np.zeros(size_hw, dtype=bool)
    x0, y0, x1, y1 = box_xyxy
    image[y0:y1, x0:x1] = (230, 200, 210)
    mask_HW[y0:y1, x0:x1] = True
    return image, encode_mask(mask_HW)


@pytest.mark.parametrize("seed", range(12))
def test_masks_move_with_the_image(seed):
    image, rle = drawn((150, 210), (40, 30, 120, 110))
    config = DataConfig(image_size=96, scale=(0.4, 2.5), flip=0.5)
    view = draw_view((150, 210), config, np.random.default_rng(seed))
    bright_HW = crop_image(image, view)[:, :, 0] > 125
    code, _ = crop_rle(rle, view)
    mask_HW = decode_mask(view.crop_hw, code)
    differing_HW = bright_HW != mask_HW
    border_HW = binary_dilation(mask_HW) & ~binary_erosion(mask_HW, border_value=1)
    assert not (differing_HW & ~border_HW).any()
    assert differing_HW.sum() <= 0.02 * max(1, mask_HW.sum())


def test_mirroring_moves_a_marker():
    image, rle = drawn((40, 60), (3, 5, 13, 15))
    config = DataConfig(image_size=60, scale=(1.0, 1.0), flip=1.0)
    view = draw_view((40, 60), config, np.random.default_rng(0))
    assert view.flipped and view.crop_hw == (40, 60)
    mask_HW = decode_mask((40, 60), crop_rle(rle, view)[0])
    assert mask_HW[5:15, 47:57].all() and mask_HW.sum() == 100
    np.testing.assert_array_equal(crop_image(image, view)[:, :, 0] > 125, mask_HW)


def test_cropping_before_resizing_gives_what_cropping_after_it_gives():
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    for resized_hw, crop_yx, crop_hw in (((45, 65), (7, 9), (30, 40)), ((213, 301), (50, 120), (64, 64))):
        view = View((90, 130), resized_hw, crop_yx, crop_hw)
        (top, left), (height, width) = crop_yx, crop_hw
        expected = resize_image(image, resized_hw)[top : top + height, left : left + width]
        assert np.abs(crop_image(image, view).astype(int) - expected).max() <= 1


def test_drawn_views_fit_the_square_times_the_factor():
    config = DataConfig(image_size=64, scale=(0.5, 2.0), flip=0.5)
    drawn_views = [draw_view((90, 120), config, np.random.default_rng(seed)) for seed in range(300)]
    long_sides = np.array([max(view.resized_hw) for view in drawn_views])
    assert 32 <= long_sides.min() < 36 and 124 < long_sides.max() <= 128
    assert all(abs(view.resized_hw[0] - view.resized_hw[1] * 0.75) <= 1 for view in drawn_views)
    assert all(max(view.crop_hw) <= 64 for view in drawn_views)
    assert all(view.crop_hw == view.resized_hw for view in drawn_views if max(view.resized_hw) <= 64)
    assert 0.4 < np.mean([view.flipped for view in drawn_views]) < 0.6
    corners = [view.crop_yx for view in drawn_views if view.resized_hw == (96, 128)]
    assert all(0 <= y <= 32 and 0 <= x <= 64 for y, x in corners)
    assert draw_view((1, 5000), config, np.random.default_rng(0)).resized_hw[0] == 1


@pytest.mark.parametrize(("log_scale", "middle"), [(False, 34), (True, 16)])
def test_factors_are_drawn_evenly_as_numbers_or_as_ratios(log_scale, middle):
    config = DataConfig(image_size=64, scale=(4.0, 64.0), log_scale=log_scale)
    rng = np.random.default_rng(0)
    factors = np.array([draw_view((90, 120), config, rng).resized_hw[1] / 64 for _ in range(400)])
    assert 4 <= factors.min() < 4.6 and 55 < factors.max() <= 64
    assert 0.4 < (factors < middle).mean() < 0.6


def test_a_setting_does_not_change_what_is_drawn_for_another():
    both = [
        draw_view((90, 120), DataConfig(image_size=64, flip=flip), np.random.default_rng(3)).crop_yx for flip in (0, 1)
    ]
    assert both[0] == both[1]


WHOLE = View((8, 8), (8, 8), (0, 0), (8, 8))


def boxes(*corners):
    codes = []
    for x0, y0, x1, y1 in corners:
        mask_HW = np.zeros((8, 8), dtype=bool)
        mask_HW[y0:y1, x0:x1] = True
        codes.append(encode_mask(mask_HW))
    return codes


def test_small_empty_and_equal_masks_are_left_out():
    codes = boxes((0, 0, 2, 2), (0, 0, 0, 0), (0, 0, 8, 8), (0, 0, 2, 1), (0, 0, 2, 2))
    kept = crop_masks(codes, WHOLE, max_masks=9, min_area_px=3, rng=np.random.default_rng(0))
    assert kept == (codes[0], codes[2])
    left = View((8, 8), (8, 8), (0, 0), (8, 4))
    assert (
        len(
            crop_masks(
                boxes((0, 0, 8, 8), (0, 0, 5, 8), (4, 0, 8, 8)),
                left,
                max_masks=9,
                min_area_px=1,
                rng=np.random.default_rng(0),
            )
        )
        == 1
    )


@pytest.mark.parametrize(("min_visible", "areas_px"), [(0.0, [48, 64, 128]), (0.6, [48, 64]), (0.7, [48]), (1.0, [48])])
def test_masks_of_which_too_little_is_seen_are_left_out(min_visible, areas_px):
    codes = boxes((0, 0, 3, 4), (0, 0, 6, 4), (0, 0, 8, 8))
    left = View((8, 8), (16, 16), (0, 0), (16, 8))  # twice as large, 4 of 8 columns: all, two thirds and half of them
    kept = crop_masks(codes, left, max_masks=9, min_area_px=1, min_visible=min_visible, rng=np.random.default_rng(0))
    assert [int(decode_mask((16, 8), code).sum()) for code in kept] == areas_px


def test_of_many_masks_some_are_drawn_and_each_as_often():
    codes = boxes(*((x, y, x + 1, y + 1) for x in range(5) for y in range(4)), (0, 0, 0, 0))
    times = dict.fromkeys(codes, 0)
    for seed in range(400):
        kept = crop_masks(codes, WHOLE, max_masks=5, min_area_px=1, rng=np.random.default_rng(seed))
        assert len(kept) == 5 and list(kept) == sorted(kept, key=codes.index)
        for code in kept:
            times[code] += 1
    assert times.pop(codes[-1]) == 0
    assert min(times.values()) > 60 and max(times.values()) < 140


def test_no_masks():
    assert crop_masks([], WHOLE, max_masks=5, min_area_px=1, rng=np.random.default_rng(0)) == ()


def test_colours_change_as_much_as_they_may():
    image = np.random.default_rng(0).integers(60, 180, (8, 9, 3), dtype=np.uint8)
    assert change_colours(image, 0.0, np.random.default_rng(0)) is image
    changed = [change_colours(image, 0.3, np.random.default_rng(seed)) for seed in range(30)]
    assert all(one.dtype == np.uint8 and one.shape == image.shape for one in changed)
    ratios = [one.mean() / image.mean() for one in changed]
    assert 0.69 < min(ratios) < 0.8 and 1.2 < max(ratios) < 1.31
    grey = np.full((4, 4, 3), 90, dtype=np.uint8)
    assert (np.ptp(change_colours(grey, 0.5, np.random.default_rng(1)), axis=2) == 0).all()

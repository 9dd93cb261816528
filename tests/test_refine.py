import sys
import tracemalloc

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dico.config import RefineConfig
from dico.masks import MaskSet
from dico.refine import build_refiner
from dico.refine.base import look, surroundings, survivors, whole
from dico.refine.contrast import Colours
from dico.refine.crf import disjoint_layers
from dico.refine.guided import guided_filter
from tests.reference import refine as reference

SIZE_HW = (96, 128)
COLOURS = [(220, 40, 40), (40, 200, 60), (240, 220, 60), (60, 60, 220)]
METHODS = ["guided", "crf"]


@pytest.fixture(autouse=True)
def needs_pydensecrf(request):
    method = getattr(request.node, "callspec", None) and request.node.callspec.params.get("method")
    if method == "crf":
        pytest.importorskip("pydensecrf", reason="needs pydensecrf: pip install pydensecrf2")


def four_squares():
    """A grey, slightly noisy image with four coloured squares, and their true masks."""
    image = np.clip(np.random.default_rng(0).normal(128, 2, (*SIZE_HW, 3)), 0, 255).astype(np.uint8)
    masks_NHW = np.zeros((4, *SIZE_HW), dtype=bool)
    for n, (y, x) in enumerate([(8, 8), (8, 72), (56, 8), (56, 72)]):
        masks_NHW[n, y : y + 32, x : x + 40] = True
        image[masks_NHW[n]] = COLOURS[n]
    return image, masks_NHW


def agreement(masks, others):
    return np.diag(masks.iou(others))


@pytest.mark.parametrize("method", METHODS)
def test_shifted_squares_snap_to_their_edges(method):
    image, true_NHW = four_squares()
    shifted = MaskSet.from_arrays(np.roll(true_NHW, (2, -2), axis=(1, 2)))
    refined = build_refiner(RefineConfig(method=method, guided_radius=6)).refine(image, shifted)
    true = MaskSet.from_arrays(true_NHW)
    assert agreement(shifted, true).max() < 0.83
    assert agreement(refined, true).min() > 0.97


@pytest.mark.parametrize("method", METHODS)
def test_a_reduced_view_of_a_large_mask_snaps_too(method):
    image, true_NHW = four_squares()
    image, true_NHW = np.kron(image, np.ones((8, 8, 1), np.uint8)), np.kron(true_NHW, np.ones((1, 8, 8), bool))
    shifted = MaskSet.from_arrays(np.roll(true_NHW, (16, -16), axis=(1, 2)))
    refined = build_refiner(RefineConfig(method=method, max_side=128, guided_radius=6)).refine(image, shifted)
    assert agreement(refined, MaskSet.from_arrays(true_NHW)).min() > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_small_masks_snap_in_a_view_of_their_own(method):
    image = np.full((300, 300, 3), 90, dtype=np.uint8)
    true_HW, start_HW = np.zeros((2, 300, 300), dtype=bool)
    true_HW[100:124, 200:230] = True
    start_HW[101:125, 199:229] = True
    image[true_HW] = (250, 200, 30)
    masks = MaskSet.from_arrays(start_HW[None])
    assert surroundings(masks.boxes_xyxy[0], masks.size_hw) is not None
    refined = build_refiner(RefineConfig(method=method)).refine(image, masks)
    assert agreement(refined, MaskSet.from_arrays(true_HW[None])).min() > 0.97


def test_a_shared_crf_equals_one_crf_for_each_mask():
    pytest.importorskip("pydensecrf")
    image, true_NHW = four_squares()
    start_NHW = np.roll(true_NHW, (3, 1), axis=(1, 2))
    config = RefineConfig(method="crf", min_iou=0.0)
    refined = build_refiner(config).refine(image, MaskSet.from_arrays(start_NHW))
    expected = MaskSet.from_arrays(np.stack([reference.binary_crf(image, mask_HW, config) for mask_HW in start_NHW]))
    assert agreement(refined, expected).min() > 0.98


@pytest.mark.parametrize("method", METHODS)
def test_overlapping_masks_are_refined_one_by_one(method):
    image, true_NHW = four_squares()
    nested = MaskSet.from_arrays(np.stack([true_NHW[0], true_NHW[0] | true_NHW[1], true_NHW.any(axis=0)]))
    refined = build_refiner(RefineConfig(method=method)).refine(image, nested)
    assert agreement(refined, nested).min() > 0.97


@pytest.mark.parametrize("method", METHODS)
def test_fields_stay_and_parents_skip_what_was_dropped(method):
    image, true_NHW = four_squares()
    everything = np.ones(SIZE_HW, dtype=bool)
    empty = np.zeros(SIZE_HW, dtype=bool)
    masks = MaskSet.from_arrays(
        np.stack([true_NHW.any(axis=0), everything, empty, true_NHW[2]]),
        score=[0.5, 0.7, 0.8, 0.25],
        level=[0, 1, 1, 2],
        theta=[0.0, 0.5, 0.5, 1.0],
        parent=[-1, 0, 1, 2],
        source=["divide", "conquer", "conquer", "crop"],
    )
    refined = build_refiner(RefineConfig(method=method)).refine(image, masks)
    assert refined.score.tolist() == [0.5, 0.25]
    assert refined.level.tolist() == [0, 2]
    assert refined.theta.tolist() == [0.0, 1.0]
    assert refined.parent.tolist() == [-1, 0]
    assert refined.source == ("divide", "crop")
    assert refined.size_hw == SIZE_HW


@pytest.mark.parametrize("method", METHODS)
def test_refining_twice_gives_the_same_bytes(method):
    image, true_NHW = four_squares()
    masks = MaskSet.from_arrays(np.roll(true_NHW, 2, axis=2))
    refiner = build_refiner(RefineConfig(method=method))
    assert refiner.refine(image, masks).rles == refiner.refine(image, masks).rles


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (7, 1), (2, 3), (10, 20_000), (20_000, 10)])
def test_any_shape_of_image(method, size_hw):
    image = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    masks_NHW = np.zeros((3, *size_hw), dtype=bool)
    masks_NHW[0, : size_hw[0] // 2 + 1, : size_hw[1] // 2 + 1] = True
    masks_NHW[1] = True
    refined = build_refiner(RefineConfig(method=method)).refine(image, MaskSet.from_arrays(masks_NHW))
    assert refined.size_hw == size_hw
    assert len(refined) <= 1
    assert (refined.area_px > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_strip_keeps_what_is_there(method):
    image = np.full((10, 20_000, 3), 40, dtype=np.uint8)
    image[:, 5000:10_000] = 200
    masks = MaskSet.from_arrays(image[None, :, :, 0] == 200)
    assert agreement(build_refiner(RefineConfig(method=method)).refine(image, masks), masks).tolist() == [1.0]


@pytest.mark.parametrize("method", METHODS)
def test_a_uniform_image_gives_nothing_new(method):
    _, true_NHW = four_squares()
    masks = MaskSet.from_arrays(true_NHW, source=["a", "b", "c", "d"])
    refined = build_refiner(RefineConfig(method=method)).refine(np.full((*SIZE_HW, 3), 77, np.uint8), masks)
    assert set(refined.source) <= set(masks.source)
    if method == "guided":  # no edge to go to: only the corners are rounded
        assert agreement(refined, masks).min() > 0.95


@pytest.mark.parametrize("method", [*METHODS, "none"])
def test_no_masks(method):
    nothing = MaskSet.empty((5, 6))
    assert build_refiner(RefineConfig(method=method)).refine(np.zeros((5, 6, 3), np.uint8), nothing) == nothing


def test_none_leaves_masks_alone():
    masks = MaskSet.from_arrays(np.stack([np.ones((3, 3)), np.zeros((3, 3))]))
    assert build_refiner(RefineConfig(method="none")).refine(np.zeros((3, 3, 3), np.uint8), masks) is masks


def test_a_missing_pydensecrf_names_both_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(ImportError, match=r"pip install pydensecrf2.*refine\.method=guided"):
        build_refiner(RefineConfig(method="crf"))
    build_refiner(RefineConfig(method="guided"))


def test_the_keep_rule():
    before_NHW, after_NHW = np.zeros((2, 5, 10, 10), dtype=bool)
    before_NHW[:, :, :4] = True
    after_NHW[0] = before_NHW[0]  # unchanged
    after_NHW[1, :, :2] = True  # IoU 1/2
    after_NHW[2, :, :1] = True  # IoU 1/4
    before_NHW[4] = after_NHW[4] = True  # all of the image; the fourth becomes empty
    before, after = MaskSet.from_arrays(before_NHW), MaskSet.from_arrays(after_NHW)
    assert survivors(before, after, RefineConfig()).tolist() == [True, True, False, False, False]
    lenient = RefineConfig(min_iou=0.0, max_area_frac=1.0)
    assert survivors(before, after, lenient).tolist() == [True, True, True, False, True]


def test_surroundings_are_twice_as_large_and_inside_the_image():
    assert surroundings((40, 40, 50, 46), (100, 100)) == (35, 37, 55, 49)
    assert surroundings((0, 0, 10, 10), (100, 100)) == (0, 0, 15, 15)
    assert surroundings((95, 99, 100, 100), (100, 100)) == (92, 98, 100, 100)
    assert surroundings((0, 0, 40, 40), (100, 100)) is None


def test_views_are_reduced_but_never_enlarged_or_flattened():
    image = np.zeros((300, 600, 3), dtype=np.uint8)
    assert whole(image, 100).pixels_hw3.shape == (50, 100, 3)
    assert look(image, (10, 10, 40, 30), 100).pixels_hw3.shape == (20, 30, 3)
    assert whole(np.zeros((3, 5000, 3), np.uint8), 100).pixels_hw3.shape == (3, 100, 3)
    assert whole(np.zeros((40, 5000, 3), np.uint8), 100).pixels_hw3.shape == (16, 100, 3)


@given(arrays(bool, (6, 3, 4)), st.integers(1, 4))
def test_layers_are_disjoint_and_complete(masks_NHW, max_labels):
    found = {}
    for labels_hw, names in disjoint_layers(enumerate(masks_NHW), max_labels):
        assert len(names) <= max_labels
        for label, name in enumerate(names, start=1):
            found[name] = labels_hw == label
    assert sorted(found) == list(range(6))
    assert all(np.array_equal(found[n], masks_NHW[n]) for n in range(6))


@pytest.mark.parametrize("radius", [1, 2, 5])
@pytest.mark.parametrize("size_hw", [(1, 1), (9, 7), (2, 13)])
def test_the_guided_filter_equals_the_loop(radius, size_hw):
    rng = np.random.default_rng(radius)
    guide_hw, input_hw = rng.random((2, *size_hw))
    for values_hw in (input_hw, input_hw > 0.5, input_hw > 0.9):
        expected_hw = reference.guided_filter(guide_hw, values_hw.astype(np.float64), radius, 1e-3)
        filtered_hw = guided_filter(guide_hw, values_hw, radius=radius, eps=1e-3)
        assert np.allclose(filtered_hw, expected_hw, rtol=0, atol=2e-5)


def test_running_sums_do_not_drift():
    rng = np.random.default_rng(0)
    guide_hw = np.concatenate([rng.random((3000, 9)), np.full((50, 9), 0.1)]).astype(np.float32)
    input_hw = np.zeros(guide_hw.shape, dtype=bool)
    input_hw[:, :4] = True
    alone_hw = guided_filter(guide_hw[-30:], input_hw[-30:], radius=2, eps=1e-4)
    assert np.allclose(guided_filter(guide_hw, input_hw, radius=2, eps=1e-4)[-20:], alone_hw[-20:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("max_side", [480, 120])
def test_parts_of_views_give_what_whole_views_give(max_side):
    image = skimage.data.astronaut()[:256, 100:420]
    rng = np.random.default_rng(3)
    y_HW, x_HW = np.mgrid[: image.shape[0], : image.shape[1]]
    masks_NHW = [
        ((y_HW - y) / tall) ** 2 + ((x_HW - x) / wide) ** 2 < 1
        for y, x, tall, wide in zip(*rng.integers(0, 256, (2, 40)), *rng.integers(2, 140, (2, 40)), strict=True)
    ]
    masks = MaskSet.from_arrays(np.stack([*masks_NHW, ~masks_NHW[0]]), source=[str(n) for n in range(41)])
    config = RefineConfig(method="guided", max_side=max_side, min_iou=0.0, max_area_frac=1.0)
    rles = []
    for rle, box_xyxy in zip(masks.rles, masks.boxes_xyxy, strict=True):
        near = surroundings(box_xyxy, masks.size_hw)
        view = whole(image, max_side) if near is None else look(image, near, max_side // 2)
        rles.append(view.encode(reference.guided_mask(view.pixels_hw3, view.decode(rle), config)))
    expected = masks.with_fields(rles=tuple(rles))
    expected = expected[expected.area_px > 0]
    refined = build_refiner(config).refine(image, masks)
    assert refined.source == expected.source
    assert (agreement(refined, masks[[int(name) for name in refined.source]]) < 0.99).sum() > 10
    assert (refined.decode() != expected.decode()).mean() < 1e-5
    assert agreement(refined, expected).min() > 0.999


def test_a_part_of_a_view_holds_all_that_a_box_touches():
    view = look(np.zeros((300, 600, 3), dtype=np.uint8), (100, 50, 500, 250), 200)
    assert view.pixels_hw3.shape == (100, 200, 3)
    assert view.around((101, 51, 102, 52), 0) == (0, 0, 1, 1)
    assert view.around((101, 51, 103, 53), 0) == (0, 0, 2, 2)
    assert view.around((300, 150, 302, 160), 3) == (97, 47, 104, 58)
    assert view.around((100, 50, 500, 250), 3) == (0, 0, 200, 100)


def everywhere(mask_hw):
    return slice(0, mask_hw.shape[1]), slice(0, mask_hw.shape[0])


@given(arrays(np.uint8, (7, 5, 3)), arrays(bool, (4, 3)), st.integers(0, 3), st.integers(0, 2))
def test_the_guide_is_the_discriminant_of_the_whole_view(pixels_hw3, mask_hw, y, x):
    whole_hw = np.zeros((7, 5), dtype=bool)
    whole_hw[y : y + 4, x : x + 3] = mask_hw
    part = slice(x, x + 3), slice(y, y + 4)
    guide_hw = Colours.of(pixels_hw3).along_contrast(mask_hw.T, part).T
    expected_hw = reference.along_contrast(pixels_hw3, whole_hw)[y : y + 4, x : x + 3]
    assert np.allclose(guide_hw, expected_hw, rtol=0, atol=1e-5)


def test_the_guide_shows_an_edge_between_equally_bright_colours():
    left_HW = np.zeros((8, 8), dtype=bool)
    left_HW[:, :4] = True
    pixels = np.where(left_HW[:, :, None], (200, 50, 50), (50, 200, 50)).astype(np.uint8)
    guide_hw = Colours.of(pixels).along_contrast(left_HW.T, everywhere(left_HW)).T
    assert np.ptp(guide_hw[left_HW]) < 1e-9
    assert guide_hw[left_HW].min() - guide_hw[~left_HW].max() > 0.5


@pytest.mark.parametrize("mask_hw", [np.zeros((2, 2), bool), np.ones((2, 2), bool), np.eye(2, dtype=bool)])
def test_the_guide_is_brightness_when_there_is_nothing_to_tell_apart(mask_hw):
    pixels = np.full((2, 2, 3), 255, dtype=np.uint8)
    pixels[mask_hw & mask_hw[::-1]] = 0  # nowhere, but where all is mask
    guide_wh = Colours.of(pixels).along_contrast(mask_hw.T, everywhere(mask_hw))
    assert np.allclose(guide_wh, 0, atol=1e-6)


def test_no_mask_is_decoded_at_the_size_of_a_large_image():
    size_hw = (4000, 6000)
    image = np.zeros((*size_hw, 3), dtype=np.uint8)
    image[1000:3000, 1000:5000] = 255
    mask_HW = np.zeros(size_hw, dtype=bool)
    mask_HW[1100:3000, 1000:5000] = True
    masks = MaskSet.from_arrays(mask_HW[None])
    refiner = build_refiner(RefineConfig(method="guided"))
    refiner.refine(image[:100, :100], MaskSet.from_arrays(np.ones((1, 100, 100))))
    tracemalloc.start()
    refined = refiner.refine(image, masks)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(refined) == 1
    assert peak_bytes < mask_HW.nbytes

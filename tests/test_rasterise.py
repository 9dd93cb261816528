import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_rle

from dico.mask_codes import encode_mask
from dico.rasterise import rles_of_labels, rles_of_nodes
from tests.reference.resize import resize_nearest

label_maps = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(-1, 4))
label_sets = st.lists(st.lists(st.integers(0, 5), unique=True), max_size=6)
sides = st.integers(1, 20)


def compressed_rows(sets):
    return np.cumsum([0] + [len(s) for s in sets]), np.array([label for s in sets for label in s], dtype=int)


@given(label_maps)
def test_labels_equal_dense_masks(labels_HW):
    assert rles_of_labels(labels_HW, 6) == [encode_mask(labels_HW == label) for label in range(6)]


@given(label_maps, label_sets, sides, sides)
def test_sets_equal_dense_masks_at_any_size(labels_hw, sets, height, width):
    expected = [encode_mask(resize_nearest(np.isin(labels_hw, members), (height, width))) for members in sets]
    assert rles_of_nodes(labels_hw, *compressed_rows(sets), (height, width)) == expected


@given(label_maps, label_sets, sides, sides, st.tuples(*[st.integers(0, 4)] * 4))
def test_sets_in_a_box_equal_pasted_masks(labels_hw, sets, height, width, margins):
    left, top, right, bottom = margins
    size_hw, box_xyxy = (top + height + bottom, left + width + right), (left, top, left + width, top + height)
    expected = []
    for members in sets:
        mask_HW = resize_nearest(np.isin(labels_hw, members), (height, width))
        expected.append(encode_mask(np.pad(mask_HW, ((top, bottom), (left, right)))))
    assert rles_of_nodes(labels_hw, *compressed_rows(sets), size_hw, box_xyxy=box_xyxy) == expected


def test_no_sets():
    assert rles_of_nodes(np.zeros((2, 2), dtype=int), np.array([0]), np.zeros(0, dtype=int), (4, 4)) == []


def test_a_large_image_is_never_dense():
    indptr, labels = compressed_rows([[0], [0, 1], []])
    rles = rles_of_nodes(np.array([[0, 1], [1, 0]]), indptr, labels, (60_000, 40_000))
    areas = coco_rle.area([{"size": [60_000, 40_000], "counts": rle} for rle in rles])
    assert areas.tolist() == [1_200_000_000, 2_400_000_000, 0]


@pytest.mark.parametrize(
    ("labels_hw", "indptr", "labels", "box_xyxy", "message"),
    [
        (np.zeros(3, dtype=int), [0], [], None, "two axes and a cell"),
        (np.zeros((0, 3), dtype=int), [0], [], None, "two axes and a cell"),
        (np.zeros((2, 2), dtype=int), [0, 2], [1], None, r"number of labels \(1\)"),
        (np.zeros((2, 2), dtype=int), [0, 2, 1], [1], None, "must rise"),
        (np.zeros((2, 2), dtype=int), [], [], None, "must rise"),
        (np.zeros((2, 2), dtype=int), [0, 1], [-1], None, "at least 0, got -1"),
        (np.zeros((2, 2), dtype=int), [0], [], (0, 0, 5, 4), "must lie in the 4x4 image"),
        (np.zeros((2, 2), dtype=int), [0], [], (2, 0, 2, 4), "not be empty"),
    ],
)
def test_what_does_not_fit_is_refused(labels_hw, indptr, labels, box_xyxy, message):
    with pytest.raises(ValueError, match=message):
        rles_of_nodes(labels_hw, np.array(indptr), np.array(labels, dtype=int), (4, 4), box_xyxy=box_xyxy)

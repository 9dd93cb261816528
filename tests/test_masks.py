import dataclasses
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_rle

from dico.mask_codes import decode_mask, encode_mask
from dico.masks import NO_PARENT, MaskSet

dense_masks = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))


def rectangle(y0, y1, x0, x1, size_hw=(6, 8)):
    mask_HW = np.zeros(size_hw, dtype=bool)
    mask_HW[y0:y1, x0:x1] = True
    return mask_HW


@pytest.fixture
def family():
    """A whole (0) with two halves (1, 2), a quarter (3) in the first half, and a mask of its own (4)."""
    masks_NHW = np.stack(
        [
            rectangle(0, 4, 0, 8),
            rectangle(0, 4, 0, 4),
            rectangle(0, 4, 4, 8),
            rectangle(0, 2, 0, 4),
            rectangle(5, 6, 0, 8),
        ]
    )
    return MaskSet.from_arrays(
        masks_NHW,
        score=[0.5, 0.4, 0.3, 0.2, 0.1],
        level=[0, 1, 1, 2, 0],
        theta=[0.125, 0.25, 0.5, 0.75, 0.25],
        parent=[-1, 0, 0, 1, -1],
        source=["divide", "conquer", "conquer", "conquer", "whole"],
    )


@st.composite
def forests(draw):
    """Parents of up to 12 masks in any order, and a choice of masks."""
    n = draw(st.integers(0, 12))
    place = draw(st.permutations(range(n)))
    parent = np.full(n, NO_PARENT)
    for i in range(n):
        above = draw(st.integers(-1, i - 1))
        parent[place[i]] = place[above] if above >= 0 else NO_PARENT
    return parent, draw(st.lists(st.booleans(), min_size=n, max_size=n))


# ---------------------------------------------------------------- making one


@given(dense_masks)
def test_dense_masks_round_trip(masks_NHW):
    masks = MaskSet.from_arrays(masks_NHW)
    assert masks.size_hw == masks_NHW.shape[1:]
    assert np.array_equal(masks.decode(), masks_NHW)
    assert [m.tolist() for m in masks.iter_decoded()] == masks_NHW.tolist()


def test_defaults():
    masks = MaskSet.from_arrays(np.ones((2, 3, 4)))
    assert masks.score.tolist() == [1, 1]
    assert masks.level.tolist() == masks.theta.tolist() == [0, 0]
    assert masks.parent.tolist() == [NO_PARENT, NO_PARENT]
    assert masks.source == ("", "")
    dtypes = (masks.score.dtype, masks.level.dtype, masks.theta.dtype, masks.parent.dtype)
    assert dtypes == (np.float32, np.int32, np.float32, np.int32)


def test_one_source_name_serves_all_masks():
    assert MaskSet.from_arrays(np.ones((3, 1, 1)), source="divide").source == ("divide",) * 3


def test_no_masks():
    nothing = MaskSet.empty((3, 4))
    assert len(nothing) == 0
    assert nothing == MaskSet.from_arrays(np.zeros((0, 3, 4)))
    assert nothing.decode().shape == (0, 3, 4)
    assert nothing.area_px.shape == (0,)
    assert nothing.boxes_xyxy.shape == (0, 4)
    assert nothing.iou().shape == nothing.containment().shape == (0, 0)
    assert nothing.levels.tolist() == nothing.depth().tolist() == []
    assert nothing.children(-1).tolist() == []
    assert nothing.to_coco() == nothing.to_rle_dicts() == []
    assert nothing.at_theta(0.5) == nothing[[]] == nothing[:] == nothing[np.zeros(0, bool)] == nothing


def test_one_pixel():
    masks = MaskSet.from_arrays(np.ones((1, 1, 1)))
    assert masks.area_px.tolist() == [1]
    assert masks.boxes_xyxy.tolist() == [[0, 0, 1, 1]]


def test_concat_keeps_the_order_and_shifts_parents(family):
    both = MaskSet.concat([family, MaskSet.empty(family.size_hw), family])
    assert both.rles == family.rles * 2
    assert both.parent.tolist() == [-1, 0, 0, 1, -1, -1, 5, 5, 6, -1]
    assert both.source == family.source * 2
    assert both[:5] == both[5:] == family


@pytest.mark.parametrize("parts", [[], [MaskSet.empty((2, 3)), MaskSet.empty((3, 2))]])
def test_concat_refuses_nothing_and_several_sizes(parts):
    with pytest.raises(ValueError, match="parts must be MaskSets of one image size, got sizes"):
        MaskSet.concat(parts)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"score": [1.0]}, r"score must have one entry per mask \(2\), got 1"),
        ({"level": [0, 0, 0]}, r"level must have one entry per mask \(2\), got 3"),
        ({"source": ["a"]}, r"source must have one entry per mask \(2\), got 1"),
        ({"score": [1.0, np.nan]}, "score must be finite"),
        ({"score": [1.0, np.inf]}, "score must be finite"),
        ({"level": [0, -1]}, "level must be at least 0"),
        ({"theta": [0, 1.01]}, r"theta within \[0, 1\]"),
        ({"theta": [-0.1, 0]}, r"theta within \[0, 1\]"),
        ({"theta": [np.nan, 0]}, r"theta within \[0, 1\]"),
        ({"parent": [-2, -1]}, r"parent must be -1 or an index below 2, got -2\.\.-1"),
        ({"parent": [2, -1]}, r"parent must be -1 or an index below 2, got -1\.\.2"),
        ({"parent": [0, -1]}, "parent must form a forest, got a cycle through mask 0"),
        ({"parent": [1, 0]}, "parent must form a forest, got a cycle"),
    ],
)
def test_invalid_fields_are_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        MaskSet.from_arrays(np.ones((2, 3, 4)), **fields)


def test_a_long_cycle_is_found():
    with pytest.raises(ValueError, match="cycle"):
        MaskSet.from_arrays(np.ones((300, 1, 1)), parent=[(n + 1) % 300 for n in range(300)])
    chain = MaskSet.from_arrays(np.ones((300, 1, 1)), parent=range(-1, 299))
    assert chain.depth().tolist() == list(range(300))
    assert chain.area_px.tolist() == [1] * 300  # more than pycocotools takes in a call


@pytest.mark.parametrize("size_hw", [(0, 3), (3, 0), (-1, 3), (3,)])
def test_an_impossible_size_is_refused(size_hw):
    with pytest.raises(ValueError, match="size_hw must be two positive integers"):
        MaskSet.empty(size_hw)


def test_an_array_without_three_axes_is_refused():
    with pytest.raises(ValueError, match=r"three axes \(N, H, W\), got shape \(3, 4\)"):
        MaskSet.from_arrays(np.ones((3, 4)))


# ---------------------------------------------------------------- reading it


def test_it_cannot_be_changed(family):
    with pytest.raises(ValueError, match="read-only"):
        family.score[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        family.size_hw = (1, 1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(family)


def test_it_does_not_follow_changes_of_what_it_was_made_of():
    score = np.ones(1, np.float32)
    masks = MaskSet.from_arrays(np.ones((1, 2, 2)), score=score)
    score[0] = 7
    assert masks.score.tolist() == [1]


def test_equality(family):
    assert family == family[:]
    assert family != family[:4]
    assert family != family.with_fields(score=family.score + 1)
    assert family != "masks"


def test_repr(family):
    assert repr(family) == "MaskSet(5 masks, 6x8 px, levels [0, 1, 2])"


@given(dense_masks)
def test_areas_and_boxes_equal_dense_ones(masks_NHW):
    masks = MaskSet.from_arrays(masks_NHW)
    assert masks.area_px.tolist() == masks_NHW.sum(axis=(1, 2)).tolist()
    for mask_HW, (x0, y0, x1, y1) in zip(masks_NHW, masks.boxes_xyxy.astype(int), strict=True):
        boxed_HW = np.zeros_like(mask_HW)
        boxed_HW[y0:y1, x0:x1] = True
        assert not (mask_HW & ~boxed_HW).any()
        if mask_HW.any():
            inside = mask_HW[y0:y1, x0:x1]
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        else:
            assert (x0, y0, x1, y1) == (0, 0, 0, 0)


def test_areas_of_more_masks_than_a_byte_counts():
    assert MaskSet.from_arrays(np.ones((700, 2, 3))).area_px.tolist() == [6] * 700


@given(dense_masks)
def test_iou_and_containment_equal_dense_ones(masks_NHW):
    masks, n = MaskSet.from_arrays(masks_NHW), len(masks_NHW)
    flat = masks_NHW.reshape(n, -1).astype(int)
    both, areas = flat @ flat.T, flat.sum(axis=1)
    either = areas[:, None] + areas[None] - both
    filled = np.ix_(areas > 0, areas > 0)  # what an empty mask has in common with another is not defined
    assert np.allclose(masks.iou()[filled], (both / np.maximum(either, 1))[filled])
    assert np.allclose(masks.containment()[filled], (both / np.maximum(areas, 1)[:, None])[filled])


def test_overlap_with_another_set(family):
    others = family[[0, 4]]
    assert family.iou(others).tolist() == [[1, 0], [0.5, 0], [0.5, 0], [0.25, 0], [0, 1]]
    assert family.containment(others).tolist() == [[1, 0], [1, 0], [1, 0], [1, 0], [0, 1]]
    assert others.containment(family)[0].tolist() == [1, 0.5, 0.5, 0.25, 0]
    assert family.iou(MaskSet.empty(family.size_hw)).shape == (5, 0)
    with pytest.raises(ValueError, match=r"one image size, got \(6, 8\) and \(8, 6\)"):
        family.iou(MaskSet.empty((8, 6)))


def test_slices_and_lists_give_sets(family):
    assert family[1:3].rles == family.rles[1:3]
    assert family[[4, 0]].source == ("whole", "divide")
    assert family[::-1].score.tolist() == family.score[::-1].tolist()
    assert family[[-1]] == family[[4]]
    assert family[family.level == 1].theta.tolist() == [0.25, 0.5]


def test_parents_are_relinked_to_the_nearest_ancestor_that_was_kept(family):
    assert family[[0, 3]].parent.tolist() == [-1, 0]
    assert family[[3, 0]].parent.tolist() == [1, -1]
    assert family[[2, 3]].parent.tolist() == [-1, -1]
    assert family[[3, 1, 0]].parent.tolist() == [1, 2, -1]


@given(forests())
def test_relinking_equals_walking_up(forest):
    parent, keep = forest
    masks = MaskSet.from_arrays(np.ones((len(parent), 1, 1)), parent=parent)
    kept = [n for n in range(len(parent)) if keep[n]]
    expected = []
    for n in kept:
        above = parent[n]
        while above != NO_PARENT and not keep[above]:
            above = parent[above]
        expected.append(kept.index(above) if above != NO_PARENT else NO_PARENT)
    assert masks[np.array(keep, dtype=bool)].parent.tolist() == expected


@pytest.mark.parametrize(
    ("index", "error"), [(1, TypeError), ([[0, 1]], TypeError), ([9], IndexError), ([0.5], IndexError)]
)
def test_other_indices_are_refused(family, index, error):
    with pytest.raises(error):
        family[index]


def test_an_index_error_says_how_to_get_one_mask(family):
    with pytest.raises(TypeError, match=r"for one mask use \[\[i\]\]"):
        family[1]


def test_hierarchy(family):
    assert family.levels.tolist() == [0, 1, 2]
    assert family.depth().tolist() == [0, 1, 1, 2, 0]
    assert family.children(0).tolist() == [1, 2]
    assert family.children(3).tolist() == []
    assert family.children(-1).tolist() == [0, 4]


@pytest.mark.parametrize("i", [5, -2])
def test_children_of_a_mask_that_does_not_exist(family, i):
    with pytest.raises(IndexError, match=f"i must be -1 or an index below 5, got {i}"):
        family.children(i)


@pytest.mark.parametrize(
    ("theta", "expected"), [(0, [0, 4]), (0.125, [0, 4]), (0.25, [1, 2, 4]), (0.5, [2, 3, 4]), (1, [2, 3, 4])]
)
def test_the_cut_at_a_granularity(family, theta, expected):
    assert family.at_theta(theta) == family[expected]


@given(forests(), st.floats(0, 1))
def test_a_cut_has_one_mask_on_every_way_from_root_to_leaf(forest, theta):
    parent, _ = forest
    n = len(parent)
    masks = MaskSet.from_arrays(np.ones((n, 1, 1)), parent=parent, source=[str(i) for i in range(n)])
    finer = masks.with_fields(theta=masks.depth() / max(n, 1))  # theta rises on the way down
    cut = {int(name) for name in finer.at_theta(theta).source}
    assert (finer.at_theta(theta).parent == NO_PARENT).all()
    for leaf in set(range(n)) - set(parent.tolist()):
        way, i = [], leaf
        while i != NO_PARENT:
            way.append(i)
            i = parent[i]
        assert len(cut.intersection(way)) == 1


@pytest.mark.parametrize("theta", [-0.1, 1.1, float("nan")])
def test_a_granularity_out_of_range_is_refused(family, theta):
    with pytest.raises(ValueError, match=r"theta must be within \[0, 1\]"):
        family.at_theta(theta)


# ---------------------------------------------------------------- giving it away


def test_with_fields_changes_the_named_ones_alone(family):
    changed = family.with_fields(score=[5, 4, 3, 2, 1], source=["x"] * 5)
    assert changed.score.tolist() == [5, 4, 3, 2, 1]
    assert changed.with_fields(score=family.score, source=family.source) == family
    with pytest.raises(ValueError, match="level must have one entry per mask"):
        family.with_fields(level=[1])


def test_coco_annotations(family):
    annotations = family.to_coco(image_id=7, first_id=10, category_id=3)
    assert [a["id"] for a in annotations] == [10, 11, 12, 13, 14]
    assert [a["parent"] for a in annotations] == [0, 10, 10, 11, 0]
    assert annotations[3] == {
        "id": 13,
        "image_id": 7,
        "category_id": 3,
        "iscrowd": 0,
        "area": 8,
        "bbox": [0.0, 0.0, 4.0, 2.0],
        "segmentation": {"size": [6, 8], "counts": family.rles[3].decode()},
        "score": 0.2,
        "level": 2,
        "theta": 0.75,
        "parent": 11,
        "source": "conquer",
    }
    assert np.array_equal(coco_rle.decode(annotations[3]["segmentation"]), rectangle(0, 2, 0, 4))
    assert json.loads(json.dumps(annotations)) == annotations


@given(forests(), st.randoms(use_true_random=False))
def test_the_dictionary_round_trips_through_json(forest, random):
    parent, keep = forest
    n = len(parent)
    masks = MaskSet.from_arrays(
        np.array([[[k, not k]] for k in keep]).reshape(n, 1, 2),
        score=[random.uniform(-100, 100) for _ in range(n)],
        level=[random.randrange(9) for _ in range(n)],
        theta=[random.random() for _ in range(n)],
        parent=parent,
        source=[random.choice(["divide", "é"]) for _ in range(n)],
    )
    assert MaskSet.from_dict(json.loads(json.dumps(masks.to_dict()))) == masks


def test_a_dictionary_without_a_field_is_refused(family):
    row = family.to_dict()
    del row["theta"]
    with pytest.raises(KeyError, match="theta"):
        MaskSet.from_dict(row)


def test_supervision_gets_everything(family):
    pytest.importorskip("supervision", reason="needs supervision: pip install supervision")
    detections = family.to_supervision()
    assert len(detections) == 5
    assert np.array_equal(detections.xyxy, family.boxes_xyxy)
    assert np.array_equal(detections.mask, family.decode())
    assert np.array_equal(detections.confidence, family.score)
    assert detections.data["parent"].tolist() == family.parent.tolist()
    assert detections[detections.data["level"] == 1].area.tolist() == [16, 16]


def test_without_supervision_the_error_says_what_to_install(family, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        family.to_supervision()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_any_type_are_encoded(dtype):
    mask_HW = np.array([[0, 1, 1], [1, 0, 0]], dtype=dtype)
    assert decode_mask((2, 3), encode_mask(mask_HW)).tolist() == mask_HW.astype(bool).tolist()
    assert encode_mask(np.asfortranarray(mask_HW)) == encode_mask(mask_HW)


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_are_encoded(value):
    mask_HW = np.full((5, 4), value)
    assert (decode_mask((5, 4), encode_mask(mask_HW)) == value).all()

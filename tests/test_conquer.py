import dataclasses

import numpy as np
import pytest

from dico.config import ConquerConfig, Linkage
from dico.conquer import conquer, regions
from dico.features.base import PatchFeatures, RegionGraph
from dico.features.graph import grid_graph
from dico.image import resize_image
from dico.masks import MaskSet
from tests.reference.conquer import regions_by_loop
from tests.reference.merging import merge_by_loop

CONFIG = ConquerConfig(
    parts=True, whole_image="thresholds", thetas=(0.99, 0.95, 0.9, 0.7, 0.3), crop_size=32, min_patches=3
)
IMAGE_ONLY = dataclasses.replace(CONFIG, parts=False)
PARTS_ONLY = dataclasses.replace(CONFIG, whole_image="none")


class ColourExtractor:
    """Cells of 4 pixels with their colour as features; remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def extract(self, images, *, size=None):
        self.calls.append(([image.shape[:2] for image in images], size))
        return [self.look(image, size or 48) for image in images]

    def look(self, image, size):
        feats_hwC = resize_image(image, (size // 4, size // 4)).astype(np.float32) - 110
        feats_hwC /= np.maximum(np.linalg.norm(feats_hwC, axis=2, keepdims=True), 1e-6)
        return PatchFeatures(feats_hwC, 4, image.shape[:2])


def scene():
    """A face of two colours with an eye, on two-coloured ground; and the coarse mask of the face."""
    image = np.full((40, 60, 3), (200, 60, 60), dtype=np.uint8)
    image[20:] = (60, 200, 60)
    image[8:32, 20:44] = (60, 60, 200)
    image[20:32, 20:44] = (60, 110, 200)
    image[11:17, 26:32] = (200, 200, 20)
    face_HW = np.zeros((40, 60), dtype=bool)
    face_HW[8:32, 20:44] = True
    return image, MaskSet.from_arrays(face_HW[None], source="divide")


def look(image):
    return ColourExtractor().look(image, 48)


def as_dict(masks):
    return {
        mask_HW.tobytes(): (pytest.approx(float(masks.theta[n])), int(masks.level[n]))
        for n, mask_HW in enumerate(masks.iter_decoded())
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("box_xyxy", [None, (3, 2, 20, 31)])
def test_regions_equal_the_dense_loop(seed, box_xyxy):
    feats_hwC = np.random.default_rng(seed).uniform(0, 1, (7, 6, 3)).astype(np.float32)
    masks = regions(grid_graph(feats_hwC), CONFIG, (33, 24), box_xyxy=box_xyxy, source="image")
    expected = regions_by_loop(grid_graph(feats_hwC), CONFIG, (33, 24), box_xyxy)
    assert as_dict(masks) == expected
    assert len(masks) == len(expected)  # none twice


def test_the_linkage_reaches_the_merging():
    rng = np.random.default_rng(0)
    graph = grid_graph(rng.uniform(0, 1, (5, 5, 3)).astype(np.float32))
    graph = dataclasses.replace(graph, strength_E=rng.uniform(0, 1, len(graph.edges_E2)).astype(np.float32))
    config = dataclasses.replace(CONFIG, linkage=Linkage(boundary_weight=0.5, size_power=0.1))
    masks = regions(graph, config, (20, 20), source="image")
    assert as_dict(masks) == regions_by_loop(graph, config, (20, 20))
    assert as_dict(masks) != as_dict(regions(graph, CONFIG, (20, 20), source="image"))


def test_the_score_is_the_span_of_thresholds():
    graph = grid_graph(np.array([[[1, 0], [0.8, 0.6], [0, 1]]], dtype=np.float32))
    config = ConquerConfig(thetas=(0.9, 0.7, 0.1), min_patches=1)
    masks = regions(graph, config, (2, 6), source="image")
    (_, first), (_, second) = merge_by_loop(graph)
    assert masks.area_px.tolist() == [12, 8, 4, 4, 4]
    assert masks.score == pytest.approx([second, first - second, 1 - first, 1 - first, 1 - second])
    assert masks.theta == pytest.approx([0.1, 0.7, 0.9, 0.9, 0.9])
    assert masks.parent.tolist() == [-1, 0, 1, 1, 0]


def test_parents_are_the_regions_around():
    image, coarse = scene()
    masks = conquer(image, look(image), coarse, ColourExtractor(), CONFIG)
    inside_NN = masks.containment()
    for n, parent in enumerate(masks.parent):
        if parent >= 0:
            assert inside_NN[n, parent] == 1
            assert masks.level[n] > masks.level[parent] and masks.theta[n] > masks.theta[parent]
            assert masks.source[n] == masks.source[parent]
    assert (masks.parent >= 0).any()


def test_parts_lie_inside_their_object_and_differ():
    image, coarse = scene()
    extractor = ColourExtractor()
    parts = conquer(image, look(image), coarse, extractor, PARTS_ONLY)
    assert extractor.calls == [([(24, 24)], 32)]
    assert set(parts.source) == {"conquer"}
    assert (parts.containment(coarse)[:, 0] >= 0.9).all()
    assert (np.triu(parts.iou(), 1) <= 0.9).all()
    lower_HW = np.zeros((40, 60), dtype=bool)
    lower_HW[20:32, 20:44] = True
    assert parts.iou(MaskSet.from_arrays(lower_HW[None])).max() > 0.95


def test_parts_outside_of_an_object_that_is_no_box_are_dropped():
    image, _ = scene()
    triangle_HW = np.tri(40, 60, k=-8, dtype=bool)
    coarse = MaskSet.from_arrays(triangle_HW[None])
    parts = conquer(image, look(image), coarse, ColourExtractor(), PARTS_ONLY)
    assert (parts.containment(coarse)[:, 0] >= 0.9).all()


def test_the_whole_box_is_looked_at():
    image, _ = scene()
    corner_HW = np.zeros((40, 60), dtype=bool)
    corner_HW[30:, 50:] = True
    parts = conquer(image, look(image), MaskSet.from_arrays(corner_HW[None]), ColourExtractor(), PARTS_ONLY)
    # One colour: everything merges, and the level is the whole region.
    assert np.array_equal(parts.decode(), corner_HW[None])
    assert parts.theta.tolist() == pytest.approx([0.99])


def test_many_objects_are_looked_at_in_batches():
    image, _ = scene()
    masks_NHW = np.zeros((35, 40, 60), dtype=bool)
    for n in range(35):
        masks_NHW[n, n : n + 5, n : n + 6] = True
    coarse = MaskSet.from_arrays(masks_NHW)
    extractor = ColourExtractor()
    parts = conquer(image, look(image), coarse, extractor, PARTS_ONLY)
    assert [len(shapes) for shapes, _ in extractor.calls] == [16, 16, 3]
    one_by_one = [conquer(image, look(image), coarse[[n]], extractor, PARTS_ONLY) for n in range(35)]
    assert parts == MaskSet.concat(one_by_one)


def test_without_objects_the_image_is_merged():
    image, _ = scene()
    extractor = ColourExtractor()
    masks = conquer(image, look(image), MaskSet.empty((40, 60)), extractor, CONFIG)
    assert extractor.calls == [] and set(masks.source) == {"image"}
    assert as_dict(masks) == regions_by_loop(grid_graph(look(image).feats_hwC), CONFIG, (40, 60))


def test_the_graph_of_the_extractor_is_used_where_there_is_one():
    image, _ = scene()
    halves = RegionGraph(
        labels_hw=np.repeat(np.arange(2, dtype=np.int32), 20)[:, None] * np.ones((1, 60), dtype=np.int32),
        edges_E2=np.array([[0, 1]], dtype=np.int32),
        feats_NC=np.eye(2, dtype=np.float32),
        sizes_N=np.array([1200, 1200]),
    )
    features = dataclasses.replace(look(image), graph=halves)
    masks = conquer(image, features, MaskSet.empty((40, 60)), ColourExtractor(), IMAGE_ONLY)
    assert masks.area_px.tolist() == [1200, 1200] and masks.theta.tolist() == pytest.approx([0.99, 0.99])


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 2), (2, 2)])
def test_tiny_images(size_hw):
    image = np.random.default_rng(0).integers(0, 255, (*size_hw, 3), dtype=np.uint8)
    coarse = MaskSet.from_arrays(np.ones((1, *size_hw), dtype=bool))
    masks = conquer(image, look(image), coarse, ColourExtractor(), CONFIG)
    assert masks.size_hw == size_hw


def test_an_empty_coarse_mask_has_no_parts():
    image, _ = scene()
    coarse = MaskSet.from_arrays(np.zeros((1, 40, 60), dtype=bool))
    assert len(conquer(image, look(image), coarse, ColourExtractor(), PARTS_ONLY)) == 0


def test_no_pass_gives_no_masks():
    image, coarse = scene()
    config = dataclasses.replace(CONFIG, parts=False, whole_image="none")
    assert conquer(image, look(image), coarse, ColourExtractor(), config) == MaskSet.empty((40, 60))


def test_coarse_masks_of_another_size_are_refused():
    image, _ = scene()
    with pytest.raises(ValueError, match=r"size \(40, 60\), got \(4, 4\)"):
        conquer(image, look(image), MaskSet.empty((4, 4)), ColourExtractor(), CONFIG)

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from dico.config import ClassicalConfig
from dico.features.classical import ClassicalExtractor
from dico.features.superpixels import find_borders
from tests.conftest import draw

SMALL = ClassicalConfig(max_pixels=10_000)


def look(image, config=SMALL, *, size=None):
    (features,) = ClassicalExtractor(config).extract([image], size=size)
    return features


def noise(size_hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def one_colour(size_hw, colour):
    return np.full((*size_hw, 3), colour, dtype=np.uint8)


def halves(size_hw, left, right):
    image = one_colour(size_hw, left)
    image[:, size_hw[1] // 2 :] = right
    return image


def bytes_of(features):
    graph = features.graph
    arrays = {**vars(features), **vars(graph), **dict(enumerate(graph.more_strengths))}
    return {name: value.tobytes() for name, value in arrays.items() if isinstance(value, np.ndarray)}


IMAGES = {
    "drawn": draw(),
    "noise": noise((30, 41)),
    "uniform": one_colour((40, 24), 128),
    "black": one_colour((9, 9), 0),
    "white": one_colour((9, 9), 255),
    "one colour": one_colour((20, 30), (200, 10, 90)),
    "two blocks": halves((24, 32), (0, 0, 0), (255, 255, 255)),
    "pixel": noise((1, 1)),
    "row": noise((1, 7)),
    "column": noise((7, 1)),
    "two by two": noise((2, 2)),
    "long": noise((2000, 3)),
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_the_graph_is_one(image):
    features = look(image)
    graph = features.graph
    height, width = graph.labels_hw.shape
    num_nodes, num_edges = len(graph.sizes_N), len(graph.edges_E2)
    assert features.size_hw == image.shape[:2] == (height, width)
    assert graph.labels_hw.dtype == np.int32
    assert np.array_equal(np.bincount(graph.labels_hw.ravel()), graph.sizes_N) and (graph.sizes_N > 0).all()
    borders = find_borders(graph.labels_hw)
    assert np.array_equal(graph.edges_E2, borders.edges_E2) and np.array_equal(graph.length_E, borders.length_E)
    assert graph.feats_NC.dtype == np.float32 and len(graph.feats_NC) == num_nodes
    assert np.isfinite(graph.feats_NC).all() and (np.linalg.norm(graph.feats_NC, axis=1) > 0).all()
    for strength_E in (graph.strength_E, *graph.more_strengths):
        assert strength_E.dtype == np.float32 and strength_E.shape == (num_edges,)
        assert np.isfinite(strength_E).all() and ((strength_E >= 0) & (strength_E <= 1)).all()


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_the_grid_covers_the_image_with_unit_vectors(image):
    features = look(image)
    cells_hw = tuple(-(-side // features.stride) for side in features.graph.labels_hw.shape)
    assert features.feats_hwC.shape[:2] == cells_hw and features.feats_hwC.shape[2] >= 1
    assert features.feats_hwC.dtype == np.float32
    assert np.linalg.norm(features.feats_hwC, axis=2) == pytest.approx(np.ones(cells_hw), abs=1e-5)


@pytest.mark.parametrize("colour", [0, 128, 255, (200, 10, 90)])
def test_one_colour_is_one_region(colour):
    graph = look(one_colour((40, 60), colour)).graph
    assert len(graph.sizes_N) == 1 and len(graph.edges_E2) == 0


@pytest.mark.parametrize("contrast", [20, 255])
@pytest.mark.parametrize("turned", [False, True])
def test_two_colours_part_where_they_meet(contrast, turned):
    image = halves((48, 64), (0, 0, 0), (contrast,) * 3)
    labels_hw = look(np.ascontiguousarray(image.transpose(1, 0, 2)) if turned else image).graph.labels_hw
    labels_hw = labels_hw.T if turned else labels_hw
    assert not set(labels_hw[:, :31].ravel()) & set(labels_hw[:, 33:].ravel())


def test_colours_of_equal_lightness_part_too():
    labels_hw = look(halves((48, 64), (150, 90, 90), (80, 119, 80))).graph.labels_hw
    assert not set(labels_hw[:, :31].ravel()) & set(labels_hw[:, 33:].ravel())


def test_the_strongest_borders_are_those_of_the_thing():
    """A disc on a noisy ground: its outline is stronger than what noise draws inside and outside."""
    y_HW, x_HW = np.mgrid[:80, :100]
    inside_HW = (y_HW - 40) ** 2 + (x_HW - 50) ** 2 < 24**2
    ground = np.random.default_rng(0).normal(110, 12, (80, 100, 3))
    ground[inside_HW] += (70, 20, -50)
    graph = look(np.clip(ground, 0, 255).astype(np.uint8)).graph
    of_disc_N = ndimage.mean(inside_HW, graph.labels_hw, np.arange(len(graph.sizes_N)))
    ends_E2 = of_disc_N[graph.edges_E2]
    outline_E = (ends_E2.min(axis=1) < 0.1) & (ends_E2.max(axis=1) > 0.9)
    elsewhere_E = (ends_E2.max(axis=1) < 0.1) | (ends_E2.min(axis=1) > 0.9)
    assert outline_E.sum() > 5 and elsewhere_E.sum() > 50
    for strength_E in (graph.strength_E, *graph.more_strengths):
        assert np.median(strength_E[outline_E]) > 2 * np.median(strength_E[elsewhere_E])
        assert np.median(strength_E[outline_E]) > np.percentile(strength_E[elsewhere_E], 95)


def test_texture_alone_tells_regions_apart():
    """Stripes that lie beside stripes that stand: same colours, same mean."""
    y_HW, x_HW = np.mgrid[:64, :96]
    phase_HW = np.where(x_HW < 48, y_HW, x_HW)
    grey_HW = 120 + 50 * np.sin(2 * np.pi * phase_HW / 5)
    graph = look(np.repeat(grey_HW[..., None], 3, axis=2).astype(np.uint8)).graph
    left_N = ndimage.mean(x_HW < 48, graph.labels_hw, np.arange(len(graph.sizes_N)))
    likeness_NN = graph.feats_NC @ graph.feats_NC.T
    pure_left, pure_right = left_N > 0.95, left_N < 0.05
    likeness_NN /= np.sqrt(np.outer(np.diag(likeness_NN), np.diag(likeness_NN)))
    across = likeness_NN[np.ix_(pure_left, pure_right)].mean()
    within = (likeness_NN[np.ix_(pure_left, pure_left)].mean() + likeness_NN[np.ix_(pure_right, pure_right)].mean()) / 2
    assert across < within - 0.05


def test_the_grid_says_which_side_of_the_cut_a_place_is_on():
    feats_hwC = look(halves((64, 96), (60, 80, 200), (190, 170, 60)) ^ (noise((64, 96)) & 7)).feats_hwC
    left_C, right_C = feats_hwC[:, :5].mean(axis=(0, 1)), feats_hwC[:, 7:].mean(axis=(0, 1))
    assert left_C @ right_C < 0
    assert (feats_hwC[:, :5] @ left_C > feats_hwC[:, :5] @ right_C).all()
    assert (feats_hwC[:, 7:] @ right_C > feats_hwC[:, 7:] @ left_C).all()


@pytest.mark.parametrize("size_hw", [(300, 200), (150, 400)])
def test_large_images_are_reduced(size_hw):
    features = look(noise(size_hw), ClassicalConfig(max_pixels=6000))
    height, width = features.graph.labels_hw.shape
    assert features.size_hw == size_hw
    assert height * width == pytest.approx(6000, rel=0.02)
    assert height / width == pytest.approx(size_hw[0] / size_hw[1], rel=0.02)


@pytest.mark.parametrize("size_hw", [(1, 50_000), (50_000, 1), (9000, 10), (10, 9000)])
def test_long_images_are_reduced_too(size_hw):
    features = look(noise(size_hw), ClassicalConfig(max_pixels=2000))
    assert features.size_hw == size_hw
    assert 1000 <= features.graph.labels_hw.size <= 3000


def test_small_images_are_not_enlarged():
    assert look(draw(), ClassicalConfig()).graph.labels_hw.shape == draw().shape[:2]


def test_size_stands_for_a_square():
    height, width = look(noise((120, 60)), size=30).graph.labels_hw.shape
    assert height * width == pytest.approx(900, rel=0.05) and height == pytest.approx(2 * width, abs=1)


def test_more_smoothing_makes_fewer_superpixels():
    counts = [
        len(look(noise((60, 60)), ClassicalConfig(superpixel_sigma=sigma)).graph.sizes_N) for sigma in (0.5, 1.5, 4)
    ]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) == 3


def test_the_spectral_cue_only_adds():
    with_cue, without = (look(draw(), dataclasses.replace(SMALL, spectral_weight=weight)) for weight in (0.4, 0))
    assert np.array_equal(with_cue.graph.labels_hw, without.graph.labels_hw)
    assert np.array_equal(with_cue.graph.strength_E, without.graph.strength_E)
    closed_KE, local_KE = np.stack(with_cue.graph.more_strengths), np.stack(without.graph.more_strengths)
    assert np.array_equal(local_KE[0], without.graph.strength_E)
    assert (closed_KE >= local_KE).all() and (closed_KE > local_KE).any()


def test_images_of_several_sizes_are_looked_at_one_by_one():
    images = [draw(0), draw(1, (24, 33)), noise((1, 1))]
    together = ClassicalExtractor(SMALL).extract(images)
    assert [bytes_of(features) for features in together] == [bytes_of(look(image)) for image in images]
    assert ClassicalExtractor(SMALL).extract([]) == []


def test_the_image_stays_as_it_is():
    image = draw()
    look(image)
    assert np.array_equal(image, draw())


def test_a_view_is_as_good_as_a_copy():
    image = draw()
    assert bytes_of(look(image[:, ::-1])) == bytes_of(look(image[:, ::-1].copy()))

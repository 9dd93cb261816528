import numpy as np
import pytest

from dico.config import DivideConfig
from dico.divide.maskcut import MaskCut, cut_masks, seed_component
from dico.features.base import PatchFeatures
from dico.ncut import NormalisedCut
from tests.reference.maskcut import maskcut_by_loop

EVERYTHING = DivideConfig(max_masks=50)


def scene(size_hw=(14, 18), objects=3, noise=0.0, seed=0):
    """Objects (discs) of random directions on a ground of another."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    kinds = np.linalg.qr(rng.standard_normal((16, 16)))[0]
    feats_hwC = np.broadcast_to(kinds[0], (*size_hw, 16)).copy()
    labels_hw = np.zeros(size_hw, dtype=int)
    for k in range(objects):
        centre = (k + 0.5) * size_hw[1] / objects
        labels_hw[(y - size_hw[0] / 2) ** 2 + (x + 0.5 - centre) ** 2 < 5] = k + 1
    feats_hwC = kinds[labels_hw] + noise * rng.standard_normal((*size_hw, 16))
    feats_hwC /= np.linalg.norm(feats_hwC, axis=2, keepdims=True)
    return feats_hwC.astype(np.float32), labels_hw


def random_scene(seed, size_hw=(9, 10)):
    feats_hwC = np.random.default_rng(seed).standard_normal((*size_hw, 6))
    return (feats_hwC / np.linalg.norm(feats_hwC, axis=2, keepdims=True)).astype(np.float32)


def divide(feats_hwC, size_hw, config=EVERYTHING):
    return MaskCut(config).divide(np.zeros((*size_hw, 3), np.uint8), PatchFeatures(feats_hwC, 8, size_hw))


def masks_of(labels_hw):
    return {tuple(map(tuple, np.argwhere(labels_hw == label))) for label in range(labels_hw.max() + 1)}


@pytest.mark.parametrize(
    "feats_hwC",
    [
        *[scene(noise=noise, seed=seed)[0] for noise, seed in [(0, 0), (0.1, 1), (0.2, 2), (0.3, 3)]],
        *[random_scene(seed) for seed in range(3)],
        np.ones((6, 6, 1), dtype=np.float32),
        np.eye(2, dtype=np.float32)[None],
        np.eye(4, dtype=np.float32).reshape(2, 2, 4),
    ],
)
@pytest.mark.parametrize("config", [DivideConfig(), DivideConfig(max_masks=9, min_score=0.0, min_area_frac=0.0)])
def test_equals_the_loop(feats_hwC, config):
    labels_hw, scores = cut_masks(feats_hwC, config)
    expected = maskcut_by_loop(feats_hwC, config)
    assert scores == pytest.approx([score for _, score in expected], abs=1e-9)
    for label, (patches, _) in enumerate(expected):
        assert np.argwhere(labels_hw == label).tolist() == [list(patch) for patch in patches]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.2])
def test_finds_every_object_and_then_stops(noise):
    feats_hwC, expected_hw = scene(noise=noise, seed=1)
    labels_hw, scores = cut_masks(feats_hwC, EVERYTHING)
    assert masks_of(labels_hw) == masks_of(expected_hw - 1)
    assert len(scores) == 3 and min(scores) > 0.1


def test_stops_at_the_number_asked_for():
    assert len(cut_masks(scene()[0], DivideConfig(max_masks=2))[1]) == 2
    assert cut_masks(scene()[0], DivideConfig(max_masks=0))[1] == []


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 2), (2, 2), (5, 7)])
def test_a_uniform_image_has_no_object(size_hw):
    assert len(divide(np.ones((*size_hw, 3), dtype=np.float32) / np.sqrt(3), (20, 30))) == 0


def test_masks_are_disjoint_and_of_the_images_size():
    masks = divide(scene()[0], (101, 77))
    assert masks.size_hw == (101, 77) and len(masks) >= 3
    assert (masks.decode().sum(axis=0) <= 1).all()
    assert set(masks.source) == {"divide"} and not masks.level.any() and not masks.theta.any()
    assert ((masks.score > 0) & (masks.score <= 1)).all()


def test_small_masks_are_dropped_and_their_patches_not_found_again():
    feats_hwC, _ = scene(size_hw=(20, 20), objects=1)
    feats_hwC[1, 1] = feats_hwC[18, 18] = -feats_hwC[0, 0]
    labels_hw, _ = cut_masks(feats_hwC, EVERYTHING)
    assert labels_hw[1, 1] == labels_hw[18, 18] == -1
    assert labels_hw[10, 10] >= 0


def test_two_runs_are_identical():
    first, second = (divide(random_scene(0), (64, 64)) for _ in range(2))
    assert first == second


def cut_of(values_hw):
    values_hw = np.asarray(values_hw, dtype=float)
    return NormalisedCut(0.5, values_hw.ravel(), values_hw.ravel() > values_hw.mean())


def test_the_side_with_three_corners_is_the_ground():
    values_hw = np.ones((4, 4))
    values_hw[1:3, 1:4] = -1
    assert seed_component(cut_of(values_hw), np.ones((4, 4), dtype=bool)).tolist() == (values_hw < 0).tolist()


def test_two_corners_do_not_make_a_ground():
    values_hw = np.full((3, 4), -0.5)
    values_hw[:, 0] = 1
    assert seed_component(cut_of(values_hw), np.ones((3, 4), dtype=bool)).tolist() == (values_hw > 0).tolist()


def test_the_side_of_the_strongest_patch_is_the_object():
    values_hw = np.full((5, 5), 0.1)
    values_hw[0], values_hw[4, 0] = -0.2, -1
    mask_hw = seed_component(cut_of(values_hw), np.ones((5, 5), dtype=bool))
    assert np.argwhere(mask_hw).tolist() == [[4, 0]]


def test_only_the_component_of_the_seed_is_kept():
    values_hw = np.zeros((5, 5))
    values_hw[1, 1], values_hw[1, 3], values_hw[3, 3], values_hw[2, 2] = 0.8, 0.9, 1.0, 0.9
    mask_hw = seed_component(cut_of(values_hw), np.ones((5, 5), dtype=bool))
    assert np.argwhere(mask_hw).tolist() == [[3, 3]]


def test_taken_patches_belong_to_neither_side():
    active_hw = np.ones((3, 3), dtype=bool)
    active_hw[1, 1] = False
    values_hw = np.array([[1, 1, 1], [1, 0, -1], [1, -1, -1]])
    mask_hw = seed_component(cut_of(values_hw), active_hw)
    assert mask_hw.tolist() == (values_hw < 0).tolist()

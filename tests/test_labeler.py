from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import skimage.data
from scipy.ndimage import gaussian_filter

import dico
from dico.config import PipelineConfig, load_config
from dico.features.classical import ClassicalExtractor
from dico.image import ImageError, resize_image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from tests.conftest import REPOSITORY, draw

DIGESTS = """
import hashlib, json, sys
import numpy as np
from dico import PseudoLabeler
labeler = PseudoLabeler.from_config()
for path in sys.argv[1:]:
    print(hashlib.sha256(json.dumps(labeler(np.load(path)).to_dict()).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def labeler():
    return PseudoLabeler.from_config()


def photograph(name, longest=200):
    image = np.asarray(getattr(skimage.data, name)())
    scale = longest / max(image.shape[:2])
    return resize_image(image, (round(image.shape[0] * scale), round(image.shape[1] * scale)))


def noise(size_hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)


def one_colour(size_hw, colour):
    return np.full((*size_hw, 3), colour, dtype=np.uint8)


def digest(masks):
    return hashlib.sha256(json.dumps(masks.to_dict()).encode()).hexdigest()


def check(masks, image, config):
    """What holds for the masks of every image."""
    assert masks.size_hw == image.shape[:2]
    assert len(masks) <= config.select.max_masks
    assert masks.decode().shape == (len(masks), *image.shape[:2])  # every code is of the image's size
    assert (masks.area_px >= config.select.min_area_px).all()
    assert np.isfinite(masks.score).all() and (np.diff(masks.score) <= 0).all()
    assert (np.triu(masks.iou(), 1) <= config.select.max_iou).all()
    assert set(masks.source) <= {"divide", "conquer", "image"}
    inside_NN = masks.containment()
    for n, parent in enumerate(masks.parent):
        if parent >= 0:
            assert inside_NN[n, parent] >= config.select.min_inside_parent
            assert masks.area_px[parent] > masks.area_px[n]  # so the links have no cycle
    assert MaskSet.from_dict(json.loads(json.dumps(masks.to_dict()))) == masks


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_photographs(labeler, name):
    image = photograph(name)
    masks = labeler(image)
    check(masks, image, labeler.config)
    assert len(masks) > 100
    assert (masks.depth() > 0).sum() > 20  # there is a hierarchy
    assert len(masks.levels) > 3


@pytest.mark.parametrize("seed", range(3))
def test_drawn_images(labeler, seed):
    image = draw(seed)
    masks = labeler(image)
    check(masks, image, labeler.config)
    assert len(masks)


def test_the_masks_are_not_of_noise_alone(labeler):
    """On a photograph the few best masks cover most of it, and their sizes differ."""
    best = labeler(photograph("coffee"))[:30]
    assert best.decode().any(axis=0).mean() > 0.6
    assert best.area_px.max() > 20 * best.area_px.min()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (17, 16)])
@pytest.mark.parametrize("kind", ["noise", "one colour"])
def test_tiny_images(labeler, size_hw, kind):
    image = noise(size_hw) if kind == "noise" else one_colour(size_hw, (200, 10, 90))
    check(labeler(image), image, labeler.config)


@pytest.mark.parametrize("colour", [0, 128, 255, (200, 10, 90)])
def test_one_colour_has_no_masks(labeler, colour):
    image = one_colour((60, 80), colour)
    assert labeler(image) == MaskSet.empty((60, 80))


@pytest.mark.parametrize("size_hw", [(20_000, 10), (10, 20_000)])
def test_very_long_images(labeler, size_hw):
    image = one_colour(size_hw, 40)
    image[size_hw[0] // 4 : size_hw[0] // 2, size_hw[1] // 4 :] = (200, 160, 60)
    masks = labeler(image)
    check(masks, image, labeler.config)
    assert masks.iou(MaskSet.from_arrays(image[None, ..., 0] == 200)).max() > 0.95


def test_halves_of_two_colours(labeler):
    image = one_colour((60, 80), (30, 60, 90))
    image[:, 40:] = (200, 170, 40)
    masks = labeler(image)
    assert masks.boxes_xyxy[np.argsort(masks.boxes_xyxy[:, 0])].tolist() == [[0, 0, 40, 60], [40, 0, 80, 60]]


def test_grey_images(labeler):
    grey_HW = photograph("coffee")[..., 1]
    image = np.repeat(grey_HW[..., None], 3, axis=2)
    masks = labeler(image)
    check(masks, image, labeler.config)
    assert len(masks) > 50


def scene(seed=0):
    """Coloured things with parts on textured ground: the image, and the mask of each; a thing holds its parts."""
    rng = np.random.default_rng(seed)
    y_HW, x_HW = np.mgrid[:160, :200]
    texture_HW3 = gaussian_filter(rng.standard_normal((160, 200, 3)), (1.2, 1.2, 0))
    texture_HW3 /= texture_HW3.std()
    image = np.array([105, 125, 95]) + 18 * texture_HW3

    def disc(y, x, radius):
        return (y_HW - y) ** 2 + (x_HW - x) ** 2 < radius**2

    def box(y0, x0, y1, x1):
        return (y_HW >= y0) & (y_HW < y1) & (x_HW >= x0) & (x_HW < x1)

    triangle_HW = (y_HW >= 115) & (y_HW < 150) & (np.abs(x_HW - 50) < y_HW - 112)
    things = {
        "face": (disc(56, 52, 42), (210, 170, 60)),
        "left eye": (disc(46, 38, 12), (40, 40, 120)),
        "right eye": (disc(46, 68, 12), (40, 40, 120)),
        "house": (box(30, 112, 130, 188), (180, 60, 60)),
        "door": (box(82, 122, 122, 146), (70, 40, 20)),
        "window": (box(45, 150, 69, 176), (150, 200, 230)),
        "tent": (triangle_HW, (90, 60, 160)),
    }
    for mask_HW, colour in things.values():
        image[mask_HW] = np.array(colour) + 4 * texture_HW3[mask_HW]
    return np.clip(image, 0, 255).astype(np.uint8), {name: mask_HW for name, (mask_HW, _) in things.items()}


@pytest.mark.parametrize("seed", range(2))
def test_every_thing_and_every_part_is_among_the_best_masks(labeler, seed):
    image, things = scene(seed)
    best = labeler(image)[:30]
    found = MaskSet.from_arrays(np.stack(list(things.values()))).iou(best).max(axis=1)
    missed = {name: round(iou, 2) for name, iou in zip(things, found.tolist(), strict=True) if iou <= 0.9}
    assert missed == {}


def test_parts_hang_below_their_things(labeler):
    image, things = scene()
    masks = labeler(image)
    match = dict(
        zip(things, MaskSet.from_arrays(np.stack(list(things.values()))).iou(masks).argmax(axis=1), strict=True)
    )

    def ancestors(n):
        while n >= 0:
            yield n
            n = masks.parent[n]

    for part, whole in {"left eye": "face", "right eye": "face", "door": "house", "window": "house"}.items():
        assert match[whole] in ancestors(match[part])


def test_a_limit_of_masks_keeps_the_best(labeler):
    image = photograph("coffee")
    few = PseudoLabeler.from_config(overrides=["select.max_masks=20"])(image)
    many = labeler(image)
    assert few.rles == many.rles[:20] and np.array_equal(few.score, many.score[:20])


def test_stages_can_be_left_out():
    image = draw()
    overrides = ["divide.max_masks=0", "conquer.whole_image=none", "refine.method=none"]
    assert PseudoLabeler.from_config(overrides=overrides)(image) == MaskSet.empty(image.shape[:2])
    assert set(PseudoLabeler.from_config(overrides=overrides[:1])(image).source) == {"image"}


def test_crops_are_looked_at_when_parts_are_wanted():
    image, _ = scene()
    overrides = ["divide.max_masks=3", "conquer.parts=true", "conquer.thetas=[0.9, 0.8, 0.6]"]
    masks = PseudoLabeler.from_config(overrides=overrides)(image)
    check(masks, image, PipelineConfig())
    assert "conquer" in masks.source


def test_a_second_run_gives_the_same_bytes(labeler):
    image = photograph("chelsea")
    assert digest(labeler(image)) == digest(PseudoLabeler.from_config()(image))


def test_another_process_gives_the_same_bytes(labeler, tmp_path):
    threads = "4" if os.environ.get("OMP_NUM_THREADS") != "4" else "1"
    images = [photograph("astronaut", 150), noise((40, 50)), draw(), one_colour((5, 5), 7)]
    paths = [tmp_path / f"{n}.npy" for n in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        np.save(path, image)
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), threads)
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS, *map(str, paths)],
        env={**os.environ, **counts, "PYTHONHASHSEED": threads},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [digest(labeler(image)) for image in images]


def test_what_was_labelled_before_does_not_matter():
    first, second = PseudoLabeler.from_config(), PseudoLabeler.from_config()
    first(noise((40, 30)))
    assert digest(first(draw())) == digest(second(draw()))


def test_the_image_stays_as_it_is(labeler):
    image = draw()
    image.setflags(write=False)
    labeler(image)


def test_a_path_is_as_good_as_an_array(labeler, tmp_path):
    path = tmp_path / "drawn.png"
    PIL.Image.fromarray(draw()).save(path)
    assert labeler(path) == labeler(str(path)) == labeler(draw())


def test_a_grey_file_is_read(labeler, tmp_path):
    PIL.Image.fromarray(draw()[..., 0]).save(tmp_path / "grey.png")
    assert labeler(tmp_path / "grey.png").size_hw == draw().shape[:2]


def test_a_file_that_is_no_image_is_refused(labeler, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("no image")
    with pytest.raises(ImageError, match=r"notes\.jpg"):
        labeler(path)


def test_more_pixels_than_allowed_are_refused(tmp_path):
    PIL.Image.fromarray(draw()).save(tmp_path / "drawn.png")
    with pytest.raises(ImageError, match=r"drawn\.png"):
        PseudoLabeler.from_config(overrides=["image.max_pixels=100"])(tmp_path / "drawn.png")


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros((1, 4, 4, 3), dtype=np.uint8),
    ],
    ids=lambda image: f"{image.dtype} {image.shape}",
)
def test_arrays_that_are_no_images_are_refused(labeler, image):
    with pytest.raises(ValueError, match=r"image must be uint8 \(H, W, 3\) and not empty, got"):
        labeler(image)


def test_what_is_no_array_is_refused(labeler):
    with pytest.raises(TypeError, match="image must be an array or the path of a file, got Image"):
        labeler(PIL.Image.new("RGB", (8, 8)))


def test_a_configuration_a_file_and_overrides(tmp_path):
    path = tmp_path / "few.yaml"
    path.write_text("select:\n  max_masks: 7\n")
    assert PseudoLabeler.from_config().config == PipelineConfig()
    assert PseudoLabeler.from_config(path).config == PseudoLabeler.from_config(str(path)).config
    assert PseudoLabeler.from_config(path).config.select.max_masks == 7
    assert PseudoLabeler.from_config(path, ["select.max_masks=5"]).config.select.max_masks == 5
    config = load_config(overrides=["select.max_masks=3"])
    assert PseudoLabeler.from_config(config).config is config
    assert isinstance(PseudoLabeler.from_config().extractor, ClassicalExtractor)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((PipelineConfig(), ["select.max_masks=3"]), ValueError, "overrides must be empty when config is"),
        ((None, ["select.max_mask=3"]), KeyError, "did you mean select.max_masks"),
        ((None, ["select.max_masks"]), ValueError, "section.key=value"),
        ((None, ["select.max_masks=0"]), ValueError, "select.max_masks must be at least 1"),
        ((None, ["refine.method=magic"]), ValueError, "refine.method must be one of"),
        (("no such file.yaml",), FileNotFoundError, "no such file"),
        ((None, ["extractor.name=dino"]), ValueError, "classical"),
        ((None, ["conquer.parts=true"]), ValueError, "needs objects to look for parts in: add divide.max_masks=3"),
        (
            (None, ["extractor.weights=dino.pth"]),
            ValueError,
            "dino.pth is for transformers, .* add extractor.name=dino",
        ),
    ],
    ids=["both", "unknown key", "no value", "range", "choice", "file", "no weights", "no objects", "weights for none"],
)
def test_wrong_configurations_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        PseudoLabeler.from_config(*arguments)


def test_public_names():
    assert {"MaskSet", "MaskStore", "PseudoLabeler", "load_config"} <= set(dico.__all__)
    for name in dico.__all__:
        assert getattr(dico, name).__name__ == name
    assert dico.PseudoLabeler is PseudoLabeler and dico.MaskSet is MaskSet and dico.load_config is load_config
    with pytest.raises(AttributeError, match="'dico' has no attribute 'Labeler'"):
        dico.Labeler


def test_importing_the_package_does_not_wait_for_numba():
    code = "import sys, dico; print(sorted({'numba', 'scipy', 'skimage', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pooling_is_refused_for_transformers(monkeypatch):
    monkeypatch.setattr("dico.labeler.build_extractor", lambda config, *, seed: None)
    with pytest.raises(ValueError, match=r"conquer.whole_image must be thresholds or none with extractor.name=dino"):
        PseudoLabeler.from_config(overrides=["extractor.name=dino", "extractor.weights=org/name"])
    overrides = ["extractor.name=dino", "extractor.weights=org/name", "conquer.whole_image=thresholds"]
    PseudoLabeler.from_config(overrides=overrides)

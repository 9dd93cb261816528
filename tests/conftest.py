"""Fixtures that several tests use: data, drawn images, a stand-in for the pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import settings

from dico.image import Image
from dico.masks import MaskSet
from dico.store import MaskStore
from tests.stores import FAILING, fill, manifest_of

# The first call of a compiled function takes seconds, and a test of speed would fail on a busy machine.
settings.register_profile("dico", deadline=None)
settings.load_profile("dico")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """The folder of photographs with human masks; DICO_DATA names its parent."""
    root = Path(os.environ.get("DICO_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "dev").is_dir():
        pytest.skip(f"needs the development photographs: no folder {root / 'dev'}; set DICO_DATA")
    return root / "dev"


def draw(seed: int = 0, size_hw: tuple[int, int] = (48, 64)) -> Image:
    """uint8 (H, W, 3): a disc and a two-coloured box on a noisy slope; the seed moves and colours them."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    y_HW, x_HW = np.mgrid[:height, :width]
    slope_HW = 60 + 60 * (x_HW / max(1, width - 1))
    image = np.repeat(slope_HW[:, :, None], 3, axis=2) + rng.normal(0, 4, (height, width, 3))
    colours = rng.integers(0, 256, (3, 3))
    cy, cx = rng.uniform(0.25, 0.75, 2) * size_hw
    image[(y_HW - cy) ** 2 + (x_HW - cx) ** 2 < (0.2 * height) ** 2] = colours[0]
    y0, x0 = (rng.uniform(0.05, 0.5, 2) * size_hw).astype(int)
    y1, x1 = y0 + height // 3, x0 + width // 3
    image[y0:y1, x0:x1] = colours[1]
    image[y0:y1, (x0 + x1) // 2 : x1] = colours[2]
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def drawn_image() -> Image:
    """A small image with three things in it."""
    return draw()


@pytest.fixture(scope="session")
def whole_store(tmp_path_factory: pytest.TempPathFactory) -> MaskStore:
    """A store of fifteen images that do not exist, in four shards, written in one go; not to be changed."""
    store = MaskStore.create(tmp_path_factory.mktemp("whole") / "out", manifest_of(15))
    fill(store, range(15), failing=FAILING)
    return store


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[[int], Path]:
    """A function that writes so many drawn images, of two sizes, into a folder and returns the folder."""

    def write(count: int) -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        for i in range(count):
            size_hw = (24, 32) if i % 2 else (30, 20)
            PIL.Image.fromarray(draw(i, size_hw)).save(folder / f"{i:04d}.png")
        return folder

    return write


def bright_labeler(image: Image) -> MaskSet:
    """A quick labeler for tests of what surrounds one: the pixels above three brightnesses, each inside the last."""
    grey_HW = image.mean(axis=2)
    masks_NHW = np.stack([grey_HW >= grey_HW.min(), grey_HW > grey_HW.mean(), grey_HW >= grey_HW.max()])
    return MaskSet.from_arrays(masks_NHW, parent=[-1, 0, 1], level=[0, 1, 2], theta=[0.1, 0.3, 0.6], source="bright")

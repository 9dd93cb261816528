"""The mapper: what a sample is made of, and that nothing but seed and position decides about it."""

from __future__ import annotations

import dataclasses

import numpy as np
import PIL.Image
import pytest
import torch

from dico.masks import MaskSet
from tests.conftest import draw
from training.config import DataConfig
from training.data.catalog import open_source
from training.data.mapper import Mapper
from training.records import ImageRecord

SAME_SIZE = DataConfig(image_size=50, scale=(1.0, 1.0), flip=0.0, min_area_px=1)


@pytest.fixture
def record(tmp_path):
    image = draw(3, (40, 50))
    PIL.Image.fromarray(image).save(tmp_path / "a.png")
    masks_NHW = image.mean(axis=2) > np.array([60, 90, 120])[:, None, None]
    return ImageRecord("a", tmp_path / "a.png", lambda: MaskSet.from_arrays(masks_NHW))


def equal(first, second):
    return torch.equal(first.image_CHW, second.image_CHW) and torch.equal(first.masks_NHW, second.masks_NHW)


def test_an_image_that_fits_is_its_own_sample(record):
    sample = Mapper(SAME_SIZE, seed=0)(record, 5)
    assert (sample.key, sample.position) == ("a", 5)
    assert sample.image_CHW.dtype == torch.uint8 and sample.masks_NHW.dtype == torch.bool
    np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0), draw(3, (40, 50)))
    np.testing.assert_array_equal(sample.masks_NHW, record.read_masks().decode())


def test_seed_and_position_decide(record):
    config = DataConfig(image_size=48, scale=(0.5, 2.0), colour=0.3, max_masks=2, min_area_px=1)
    sample = Mapper(config, seed=1)(record, 7)
    assert equal(sample, Mapper(config, seed=1)(record, 7))
    assert not equal(sample, Mapper(config, seed=2)(record, 7)) and not equal(sample, Mapper(config, seed=1)(record, 8))
    assert len(sample.masks_NHW) <= 2


def test_only_the_best_masks_are_drawn_from(record):
    masks = record.read_masks()
    scored = MaskSet.from_arrays(masks.decode(), score=np.array([0.2, 0.9, 0.2]))

    def sampled(best_masks):
        config = dataclasses.replace(SAME_SIZE, best_masks=best_masks)
        return Mapper(config, seed=0)(ImageRecord("a", record.path, lambda: scored), 0).masks_NHW

    np.testing.assert_array_equal(sampled(1), masks.decode()[[1]])
    np.testing.assert_array_equal(sampled(2), masks.decode()[[0, 1]])  # of two equal scores the first
    for every in (0, 3, 9):
        np.testing.assert_array_equal(sampled(every), masks.decode())


def test_images_without_masks(record):
    sample = Mapper(SAME_SIZE, seed=0)(ImageRecord("a", record.path, lambda: MaskSet.empty((40, 50))), 0)
    assert sample.masks_NHW.shape == (0, 40, 50)
    small = Mapper(DataConfig(image_size=50, scale=(1.0, 1.0), min_area_px=9999), seed=0)(record, 0)
    assert small.masks_NHW.shape == (0, 40, 50)


def test_what_cannot_be_mapped(record, tmp_path):
    mapper = Mapper(SAME_SIZE, seed=0)
    with pytest.raises(ValueError, match=r"a\.png has \(40, 50\) pixels \(H, W\), but its masks have \(50, 40\)"):
        mapper(ImageRecord("a", record.path, lambda: MaskSet.empty((50, 40))), 0)
    with pytest.raises(ValueError, match=r"b\.png does not exist"):
        mapper(ImageRecord("b", tmp_path / "b.png", record.read_masks), 0)
    damaged = MaskSet.from_rles((40, 50), [b"00"])
    with pytest.raises(ValueError, match="rle must cover the pixels"):
        mapper(ImageRecord("a", record.path, lambda: damaged), 0)


def test_photographs_with_human_masks(dev_data):
    source = open_source(str(dev_data / "smoke"))
    mapper = Mapper(DataConfig(image_size=160, max_masks=20), seed=0)
    samples = [mapper(source[i % len(source)], i) for i in range(24)]
    assert all(max(sample.size_hw) <= 160 and len(sample.masks_NHW) <= 20 for sample in samples)
    assert all((sample.masks_NHW.sum(dim=(1, 2)) >= 16).all() for sample in samples)
    assert sum(len(sample.masks_NHW) for sample in samples) > 100

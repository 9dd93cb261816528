from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
import torch

from tests.conftest import draw
from tests.training.annotated import tiny_model, write_checkpoint
from tests.training.asked import INFERENCE, small_model, write_promptable
from training.automatic_masks import AutomaticMasks
from training.config import AutomaticConfig, InferenceConfig, TrainConfig
from training.digest import sha256_of
from training.models.checkpoint_files import CheckpointError
from training.predictor import Predictor
from training.prompt_predictor import PromptPredictor
from training.trained import load_trained

SMALL = {"short_side": 64, "long_side": 120, "min_score": 1e-05}


def test_a_checkpoint_says_how_it_is_asked(tmp_path):
    path = write_checkpoint(tmp_path / "a.pth", config={"seed": 3, "inference": SMALL})
    trained = load_trained(path)
    assert trained.inference == InferenceConfig(**SMALL)
    assert trained.predict(draw(0)) == Predictor(tiny_model(), InferenceConfig(**SMALL))(draw(0))
    changed = load_trained(path, overrides=["inference.max_masks=3"])
    assert changed.inference == InferenceConfig(**SMALL, max_masks=3) and len(changed.predict(draw(0))) == 3
    assert changed.identity()["inference"] == json.loads(json.dumps(dataclasses.asdict(changed.inference)))


def test_a_file_of_settings_stands_in_place_of_the_checkpoint_s(tmp_path):
    path = write_checkpoint(tmp_path / "a.pth", config={"inference": SMALL})
    settings = tmp_path / "settings.yaml"
    settings.write_text("seed: 1\ninference: {max_iou: 0.5}\n")
    found = load_trained(path, config_file=settings, overrides=["inference.max_masks=5"]).inference
    assert found == InferenceConfig(max_iou=0.5, max_masks=5)


def test_a_checkpoint_that_says_nothing_gets_the_defaults(tmp_path):
    assert load_trained(write_checkpoint(tmp_path / "a.pth")).inference == InferenceConfig()
    assert load_trained(write_checkpoint(tmp_path / "b.pth", config="text")).inference == InferenceConfig()
    torch.save(tiny_model().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_trained(tmp_path / "old.pth").inference == InferenceConfig()


def test_refusals(tmp_path):
    path = write_checkpoint(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a setting must be of the section inference, .*: model\.queries=3"):
        load_trained(path, overrides=["model.queries=3"])
    with pytest.raises(KeyError, match=r"did you mean inference\.max_masks"):
        load_trained(path, overrides=["inference.max_mask=3"])
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        load_trained(tmp_path / "b.pth")


def test_the_same_bytes_have_the_same_sum(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    assert sha256_of(tmp_path / "a" / "x") == hashlib.sha256(b"1").hexdigest()
    before = sha256_of(tmp_path / "a")
    (tmp_path / "a" / "y").write_bytes(b"2")
    after = sha256_of(tmp_path / "a")
    (tmp_path / "a" / "y").rename(tmp_path / "a" / "z")
    assert len({before, after, sha256_of(tmp_path / "a")}) == 3


def test_a_promptable_checkpoint_is_asked_for_all_masks(tmp_path):
    config = TrainConfig(inference=INFERENCE, automatic=AutomaticConfig(points_per_side=3, min_iou=0, min_stability=0))
    path = write_promptable(tmp_path / "a.pth", config)
    trained = load_trained(path)
    expected = AutomaticMasks(PromptPredictor(small_model(), INFERENCE), config.automatic, INFERENCE)
    assert trained.predict(draw(0)) == expected(draw(0)) and len(expected(draw(0)))
    assert trained.identity()["automatic"] == dataclasses.asdict(config.automatic)
    changed = load_trained(path, overrides=["automatic.min_iou=1", "inference.max_masks=3"])
    assert changed.automatic == dataclasses.replace(config.automatic, min_iou=1) and not len(changed.predict(draw(0)))
    assert changed.inference == dataclasses.replace(INFERENCE, max_masks=3)
    (tmp_path / "settings.yaml").write_text(
        "{inference: {short_side: 64, long_side: 96}, automatic: {min_region_px: 2}}"
    )
    of_file = load_trained(path, config_file=tmp_path / "settings.yaml")
    assert of_file.automatic == AutomaticConfig(min_region_px=2) and of_file.inference == INFERENCE


def test_a_promptable_network_is_the_checkpoint_s_own(tmp_path):
    path = write_promptable(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a setting must be of the section inference, or automatic .*: promptable\."):
        load_trained(path, overrides=["promptable.width=64"])
    (tmp_path / "settings.yaml").write_text("{task: whole_image, promptable: {width: 64}}")
    assert load_trained(path, config_file=tmp_path / "settings.yaml").automatic == AutomaticConfig()

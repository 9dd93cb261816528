"""Weights and their configuration in one safetensors file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from dico.config_loading import to_plain
from training.config import ModelConfig, TrainConfig
from training.models.checkpoint_files import CheckpointError
from training.models.checkpoints import load_model
from training.models.recorded import recorded_config, save_recorded
from training.models.whole_image import WholeImageModel

# The number of points cannot be read from shapes.
SMALL = ModelConfig(backbone="tiny", width=32, heads=4, queries=5, encoder_layers=1, decoder_layers=1, encoder_points=2)


def test_a_model_comes_back_with_its_configuration(tmp_path):
    model = WholeImageModel(SMALL).eval()
    config = to_plain(replace(TrainConfig(), model=SMALL))
    save_recorded(model.state_dict(), config, tmp_path / "a.safetensors")
    assert recorded_config(tmp_path / "a.safetensors") == config
    loaded = load_model(tmp_path / "a.safetensors")
    assert loaded.config == SMALL
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.safetensors, got .*a\.pth"):
        save_recorded({}, {}, tmp_path / "a.pth")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"config": "{"}, {"config": "[1]"}])
def test_files_of_others_record_nothing(tmp_path, metadata):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata)
    assert recorded_config(tmp_path / "a.safetensors") == {}


def test_what_is_wrong_with_a_file_is_said_when_it_is_read(tmp_path):
    for name, content in (("short.safetensors", b"abc"), ("gone.safetensors", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert recorded_config(tmp_path / name) == {}
        with pytest.raises(CheckpointError, match=name):
            load_model(tmp_path / name)

"""Fresh weights are drawn as published, and not as transformers draws them."""

from __future__ import annotations

import math

import pytest
import torch

from training.config import ModelConfig
from training.models.whole_image import WholeImageModel

WIDTH, MIDDLE = 96, 160
PIXELS = "model.pixel_level_module.decoder."
MASKS = "model.transformer_module."
LAYER = MASKS + "decoder.layers.0."


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="tiny", width=WIDTH, queries=200, decoder_feedforward=MIDDLE, encoder_feedforward=MIDDLE
    )
    return WholeImageModel(config).state_dict()


def xavier(inputs, outputs):
    return math.sqrt(6 / (inputs + outputs))


# Weights are uniform within a bound.
BOUNDS = {
    PIXELS + "input_projections.0.0.weight": xavier(128, WIDTH),  # of the coarsest of the backbone's maps
    PIXELS + "encoder.layers.5.self_attn.value_proj.weight": xavier(WIDTH, WIDTH),
    PIXELS + "encoder.layers.5.fc1.weight": xavier(WIDTH, MIDDLE),
    PIXELS + "encoder.layers.5.fc1.bias": 1 / math.sqrt(WIDTH),  # PyTorch's default
    # Caffe2's Xavier counts the inputs alone.
    PIXELS + "adapter_1.0.weight": math.sqrt(3 / 32),
    PIXELS + "layer_1.0.weight": math.sqrt(3 / (9 * WIDTH)),
    PIXELS + "mask_projection.weight": math.sqrt(3 / WIDTH),
    # Query, key and value weights are one matrix of three times as many outputs.
    LAYER + "cross_attn.in_proj_weight": xavier(WIDTH, 3 * WIDTH),
    LAYER + "self_attn.q_proj.weight": xavier(WIDTH, 3 * WIDTH),
    LAYER + "self_attn.v_proj.weight": xavier(WIDTH, 3 * WIDTH),
    LAYER + "self_attn.out_proj.weight": xavier(WIDTH, WIDTH),
    LAYER + "cross_attn.out_proj.weight": xavier(WIDTH, WIDTH),
    LAYER + "fc2.weight": xavier(MIDDLE, WIDTH),
    # The heads keep PyTorch's default.
    MASKS + "decoder.mask_predictor.mask_embedder.2.0.weight": 1 / math.sqrt(WIDTH),
    "class_predictor.weight": 1 / math.sqrt(WIDTH),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(state, name):
    largest, bound = state[name].abs().max().item(), BOUNDS[name]
    assert 0.93 * bound < largest <= bound * (1 + 1e-6)
    assert state[name].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    "name",
    [PIXELS + "level_embed", *(f"{MASKS}{e}.weight" for e in ("queries_features", "queries_embedder", "level_embed"))],
)
def test_embeddings_are_normal(state, name):
    assert state[name].std().item() == pytest.approx(1, rel=0.1) and abs(state[name].mean().item()) < 0.15


def test_biases_of_attention_are_zeros(state):
    names = [n for n in state if ("_attn." in n and n.endswith("bias")) or n.endswith("in_proj_bias")]
    offsets = [name for name in names if name.endswith("sampling_offsets.bias")]
    assert len(offsets) == 6 and len(names) > 60
    assert not any(state[name].any() for name in names if name not in offsets)

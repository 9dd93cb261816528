"""The map of names, against lists of every key that the published architectures have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.config import ModelConfig
from training.models.architecture import infer_config
from training.models.detectron2_names import from_detectron2, to_detectron2
from training.models.whole_image import WholeImageModel

FIXTURES = Path(__file__).parent / "fixtures"
PUBLISHED = {
    "r50": ModelConfig(backbone="resnet50", queries=100, classes=80),
    "swin_t": ModelConfig(backbone="swin_t", queries=100, classes=80),
}
NO_WEIGHTS = ("criterion.empty_weight", "relative_position_index")


def published(name):
    """Every key and shape of a detectron2-format file, on no device."""
    lines = (FIXTURES / f"detectron2_{name}.txt").read_text().splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return {key: torch.empty([int(n) for n in shape.split("x")], device="meta") for key, shape in pairs}


@pytest.fixture(scope="module", params=PUBLISHED)
def theirs_and_ours(request):
    with torch.device("meta"):
        model = WholeImageModel(PUBLISHED[request.param])
    ours = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    return published(request.param), ours, PUBLISHED[request.param]


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


def test_every_published_key_becomes_a_weight_of_ours_and_none_is_missing(theirs_and_ours):
    theirs, ours, _ = theirs_and_ours
    renamed, strangers = from_detectron2(theirs)
    assert all(name.endswith(NO_WEIGHTS) for name in strangers)
    assert shapes(renamed) == shapes(ours)


def test_and_back(theirs_and_ours):
    theirs, ours, _ = theirs_and_ours
    renamed, strangers = to_detectron2(ours)
    assert strangers == []
    assert shapes(renamed) == {name: shape for name, shape in shapes(theirs).items() if not name.endswith(NO_WEIGHTS)}


def test_no_two_keys_become_one(theirs_and_ours):
    theirs, _, _ = theirs_and_ours
    found = [name for key, value in theirs.items() for name in from_detectron2({key: value})[0]]
    assert len(found) == len(set(found))


def test_the_configuration_is_read_from_the_shapes(theirs_and_ours):
    theirs, _, config = theirs_and_ours
    assert infer_config(from_detectron2(theirs)[0]) == config


def test_fused_tensors_are_split_in_order_and_joined_again():
    fused = torch.arange(12.0).view(6, 2)
    name = "sem_seg_head.predictor.transformer_self_attention_layers.3.self_attn.in_proj_weight"
    split, strangers = from_detectron2({name: fused})
    assert strangers == []
    layer = "model.transformer_module.decoder.layers.3.self_attn."
    assert {key.removeprefix(layer): value.tolist() for key, value in split.items()} == {
        "q_proj.weight": [[0, 1], [2, 3]],
        "k_proj.weight": [[4, 5], [6, 7]],
        "v_proj.weight": [[8, 9], [10, 11]],
    }
    joined, left = to_detectron2(split)
    assert left == [] and joined.keys() == {name} and torch.equal(joined[name], fused)


def test_names_without_partner_are_told():
    names = ["sem_seg_head.predictor.surprise.weight", "backbone.res6.0.conv1.weight", "head"]
    assert from_detectron2(dict.fromkeys(names, torch.zeros(1))) == ({}, sorted(names))
    alone = "model.transformer_module.decoder.layers.3.self_attn.q_proj.weight"
    assert to_detectron2({alone: torch.zeros(1), "head": torch.zeros(1)}) == ({}, ["head", alone])


def test_every_weight_counts():
    """The fixtures are of published models: a network with a layer less lacks what that layer has."""
    with torch.device("meta"):
        smaller = WholeImageModel(replace(PUBLISHED["r50"], decoder_layers=8)).state_dict()
    extra = from_detectron2(published("r50"))[0].keys() - smaller.keys()
    assert extra and all(name.startswith("model.transformer_module.decoder.layers.8.") for name in extra)

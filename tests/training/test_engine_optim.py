"""Parameter groups and the learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.config import ModelConfig, OptimConfig, ResNetConfig, SwinConfig
from training.engine.optim import BACKBONE, build_optimiser, lr_factor, set_lr
from training.models.whole_image import WholeImageModel

SMALL = {
    "width": 32,
    "heads": 4,
    "queries": 3,
    "encoder_layers": 1,
    "encoder_feedforward": 32,
    "decoder_layers": 1,
    "decoder_feedforward": 32,
}
MODELS = {
    "tiny": ModelConfig(backbone="tiny", **SMALL),
    "resnet50": ModelConfig(backbone="resnet50", resnet=ResNetConfig(8, (16, 32, 64, 128), (1, 1, 1, 1)), **SMALL),
    "resnet50 from scratch": ModelConfig(
        backbone="resnet50", resnet=ResNetConfig(8, (16, 32, 64, 128), (1, 1, 1, 1), frozen_norm=False), **SMALL
    ),
    "swin_t": ModelConfig(
        backbone="swin_t", swin=SwinConfig(width=24, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8)), **SMALL
    ),
}
CONFIG = OptimConfig(lr=1e-3, backbone_factor=0.1, weight_decay=0.05)


def named_groups(model):
    names = {id(value): name for name, value in model.named_parameters()}
    optimiser = build_optimiser(model, CONFIG)
    return {group["name"]: [names[id(value)] for value in group["params"]] for group in optimiser.param_groups}


@pytest.fixture(params=MODELS)
def model(request):
    return WholeImageModel(MODELS[request.param])


def test_every_parameter_that_learns_is_in_one_group(model):
    found = [name for names in named_groups(model).values() for name in names]
    assert sorted(found) == sorted(name for name, value in model.named_parameters() if value.requires_grad)


def test_the_backbone_learns_slowly(model):
    for group in build_optimiser(model, CONFIG).param_groups:
        of_backbone = group["name"].startswith("backbone")
        assert group["lr"] == group["base_lr"] == (1e-4 if of_backbone else 1e-3)
        assert group["weight_decay"] == (0.0 if group["name"].endswith("without decay") else 0.05)
    for title, names in named_groups(model).items():
        assert all(name.startswith(BACKBONE) == title.startswith("backbone") for name in names)


def test_norms_and_embeddings_do_not_decay(model):
    groups = named_groups(model)
    still = {name for title, names in groups.items() if title.endswith("without decay") for name in names}
    # By their names in Hugging Face's files; the groups go by what the modules are. Norms in sequences have no name.
    words = ("norm", "queries_", "level_embed", "relative_position_bias_table")
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    expected = {name for name in learning if any(word in name for word in words)}
    groups_of_channels = {name for name, module in model.named_modules() if isinstance(module, nn.GroupNorm)}
    expected |= {f"{name}.{leaf}" for name in groups_of_channels for leaf in ("weight", "bias")}
    assert still == expected
    assert {"model.transformer_module.queries_features.weight", "model.pixel_level_module.decoder.level_embed"} <= still


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    (group,) = build_optimiser(model, CONFIG).param_groups
    assert group["params"] == list(model[1].parameters())
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="all of them are frozen"):
        build_optimiser(model, CONFIG)


def test_a_shared_parameter_is_in_one_group_and_an_embedding():
    model = nn.ModuleDict({"embedding": nn.Embedding(4, 4), "predictor": nn.Linear(4, 4, bias=False)})
    model["predictor"].weight = model["embedding"].weight
    (group,) = build_optimiser(model, CONFIG).param_groups
    assert len(group["params"]) == 1 and group["weight_decay"] == 0


def test_decay_shrinks_what_decays_and_nothing_else():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    before = [value.clone() for value in model.parameters()]
    optimiser = build_optimiser(model, CONFIG)
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimiser.step()
    weight, bias, scale, shift = (after / was for after, was in zip(model.parameters(), before, strict=True))
    torch.testing.assert_close(weight, torch.full((2, 2), 1 - 1e-3 * 0.05))
    torch.testing.assert_close(bias, torch.full((2,), 1 - 1e-3 * 0.05))
    assert torch.equal(scale, torch.ones(2)) and shift.isnan().all()  # 0 / 0


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, {0: 1, 44: 1, 79: 1, 80: 0.1, 89: 0.1, 90: 0.01, 99: 0.01}),
        ({"drops": ()}, {0: 1, 99: 1}),
        ({"drop_factor": 0.5}, {79: 1, 80: 0.5, 90: 0.25}),
        ({"warmup_steps": 10}, {0: 0.1, 4: 0.5, 9: 1, 10: 1, 80: 0.1}),
        ({"warmup_steps": 100}, {0: 0.01, 79: 0.8, 80: 0.081}),
        ({"schedule": "constant"}, {0: 1, 99: 1}),
        ({"schedule": "constant", "warmup_steps": 2}, {0: 0.5, 1: 1, 99: 1}),
        ({"schedule": "cosine"}, {0: 1, 50: 0.5, 100: 0, 101: 0}),
        ({"schedule": "cosine", "warmup_steps": 4}, {0: 0.25, 50: 0.5}),
    ],
)
def test_schedules(options, factors):
    config = OptimConfig(**{"steps": 100, "drops": (0.8, 0.9), **options})
    assert {step: lr_factor(step, config) for step in factors} == pytest.approx(factors)


def test_published_drops_are_at_whole_steps():
    config = OptimConfig(steps=27 * 7)
    assert [step for step in range(1, config.steps) if lr_factor(step, config) < lr_factor(step - 1, config)] == [
        24 * 7,
        26 * 7,
    ]


def test_rates_of_a_step_start_from_the_base():
    config = OptimConfig(steps=100, lr=1e-3, warmup_steps=10, schedule="constant")
    optimiser = build_optimiser(WholeImageModel(MODELS["tiny"]), config)
    for step, factor in ((0, 0.1), (4, 0.5), (50, 1)):
        assert set_lr(optimiser, step, config) == pytest.approx(1e-3 * factor)
        for group in optimiser.param_groups:
            assert group["lr"] == pytest.approx((1e-4 if "backbone" in group["name"] else 1e-3) * factor)

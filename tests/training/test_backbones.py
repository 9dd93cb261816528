from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.training.mask2former import SMALL_CONFIGS, shaken
from training.config import ModelConfig, ResNetConfig, SwinConfig, TinyConfig
from training.models.backbones import build_backbone
from training.models.backbones.resnet import FrozenBatchNorm

CONFIGS = {**SMALL_CONFIGS, "tiny": ModelConfig(backbone="tiny", tiny=TinyConfig(widths=(8, 16, 24, 32)))}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size_hw", [(64, 96), (65, 33), (40, 200)])
def test_maps_of_four_strides(name, size_hw):
    backbone = build_backbone(CONFIGS[name]).eval()
    maps = backbone(torch.randn(2, 3, *size_hw))
    sizes = [tuple(-(-side // stride) for side in size_hw) for stride in (4, 8, 16, 32)]
    assert [tuple(m.shape) for m in maps] == [(2, c, *s) for c, s in zip(backbone.channels, sizes, strict=True)]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_learns_and_images_do_not_see_one_another(name):
    config = CONFIGS[name]
    free, whole = replace(config.resnet, frozen_norm=False), replace(config.swin, drop_path=0.0)
    backbone = build_backbone(replace(config, resnet=free, swin=whole))
    images = torch.randn(2, 3, 64, 96)
    sum(m.square().mean() for m in backbone(images)).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    # Keys' biases change all scores of a query alike, which the softmax takes away.
    still = [n for n, p in backbone.named_parameters() if not p.grad.any() and not n.endswith("key.bias")]
    assert still == []
    backbone.eval()
    both, one = backbone(images), backbone(images[:1])
    for b, o in zip(both, one, strict=True):
        torch.testing.assert_close(b[:1], o, atol=1e-4, rtol=1e-4)


def test_frozen_norms_stay_as_they_are():
    torch.manual_seed(0)
    frozen = shaken(build_backbone(SMALL_CONFIGS["resnet"]))
    free = build_backbone(
        replace(SMALL_CONFIGS["resnet"], resnet=replace(SMALL_CONFIGS["resnet"].resnet, frozen_norm=False))
    )
    free.load_state_dict(frozen.state_dict())
    images = torch.randn(2, 3, 64, 64)
    before = {name: buffer.clone() for name, buffer in frozen.named_buffers()}
    for ours, theirs in zip(frozen.train()(images), free.eval()(images), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(buffer, before[name]) for name, buffer in frozen.named_buffers())
    norms = [module for module in frozen.modules() if isinstance(module, FrozenBatchNorm)]
    assert norms and not any(p.requires_grad for norm in norms for p in norm.parameters())


def test_branches_are_left_out_by_chance_in_training_alone():
    swin = build_backbone(replace(SMALL_CONFIGS["swin"], swin=replace(SMALL_CONFIGS["swin"].swin, drop_path=0.5)))
    images = torch.randn(1, 3, 32, 32)
    swin.eval()
    assert torch.equal(swin(images)[3], swin(images)[3])
    swin.train()
    assert len({swin(images)[3].sum().item() for _ in range(8)}) > 1


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ResNetConfig(widths=(32, 48, 64)), r"model.resnet.widths must be four positive multiples of 4"),
        (lambda: ResNetConfig(widths=(32, 48, 64, 97)), r"multiples of 4, got \(32, 48, 64, 97\)"),
        (lambda: ResNetConfig(depths=(1, 0, 1, 1)), r"model.resnet.depths must be four positive numbers"),
        (lambda: SwinConfig(width=97), r"model.swin.width must be a multiple of the heads \(3, 6, 12, 24\), got 97"),
        (lambda: SwinConfig(window=1), "model.swin.window must be at least 2"),
        (lambda: SwinConfig(drop_path=1.0), r"model.swin.drop_path must be within \[0, 1\)"),
        (lambda: TinyConfig(widths=(4, 8, 8, 8)), "model.tiny.widths must be four positive multiples of 8"),
    ],
)
def test_sizes_that_cannot_be_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()

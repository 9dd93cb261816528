from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.asked import mixed
from training.boxes import to_centre_size, to_corners
from training.config import PromptableConfig, TrainConfig, load_train_config
from training.prompts import PADDING, Prompts, PromptTargets
from training.samples import Targets

CONFIGS = Path(__file__).parents[2] / "configs" / "training"


def test_chunks_are_all_prompts_in_order():
    prompts = mixed(7, images=2)
    parts = list(prompts.chunks(3))
    assert [part.kind_BP.shape for part in parts] == [(2, 3), (2, 3), (2, 1)]
    for name in ("boxes_BP4", "kind_BP", "points_BPK2", "labels_BPK"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], dim=1), getattr(prompts, name))


def test_they_move_to_a_device():
    prompts = mixed(2).to("meta")
    assert prompts.boxes_BP4.is_meta and prompts.kind_BP.is_meta and prompts.points_BPK2.is_meta
    targets = PromptTargets(Targets(torch.zeros(2, 4, 4, dtype=torch.bool)), torch.zeros(3, 1, dtype=torch.int64))
    assert targets.to("meta").target_PT.is_meta and targets.to("meta").masks.masks_NHW.is_meta


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (
            lambda p: {"boxes_BP4": p.boxes_BP4.double()},
            TypeError,
            "boxes_BP4 must be torch.float32, got torch.float64",
        ),
        (lambda p: {"labels_BPK": p.labels_BPK.bool()}, TypeError, "labels_BPK must be torch.int64, got torch.bool"),
        (lambda p: {"boxes_BP4": p.boxes_BP4[..., :2]}, ValueError, r"shapes \(B, P, 4\).*got \[\(2, 3, 2\)"),
        (lambda p: {"kind_BP": p.kind_BP[:, :2]}, ValueError, "prompts must have the shapes"),
        (lambda p: {"points_BPK2": p.points_BPK2[:, :, :1]}, ValueError, "prompts must have the shapes"),
        (lambda p: {"labels_BPK": p.labels_BPK[..., 0]}, ValueError, "prompts must have the shapes"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(change, error, complaint):
    prompts = mixed(3, images=2)
    with pytest.raises(error, match=complaint):
        replace(prompts, **change(prompts))


def test_a_lone_click_is_refused_by_its_shape():
    with pytest.raises(ValueError, match="prompts must have the shapes"):
        Prompts(torch.zeros(4), torch.tensor(0), torch.zeros(1, 2), torch.tensor([1]))


def test_targets_that_do_not_fit_are_refused():
    masks = Targets(torch.zeros(2, 4, 4, dtype=torch.bool))
    with pytest.raises(TypeError, match=r"target_PT must be torch.int64, got torch.float32"):
        PromptTargets(masks, torch.zeros(3, 6))
    with pytest.raises(ValueError, match=r"target_PT must have two axes \(P, T\), got shape \(3,\)"):
        PromptTargets(masks, torch.full((3,), PADDING))


def test_boxes_come_back_as_they_were():
    boxes_N4 = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_centre_size(to_corners(boxes_N4)), boxes_N4, atol=1e-6, rtol=0)
    torch.testing.assert_close(to_corners(to_centre_size(boxes_N4)), boxes_N4, atol=1e-6, rtol=0)
    corners = to_corners(torch.tensor([0.5, 0.25, 0.5, 0.5]))
    torch.testing.assert_close(corners, torch.tensor([0.25, 0.0, 0.75, 0.5]))


def test_configurations_of_promptable_models():
    published = load_train_config(CONFIGS / "unsam_promptable_swin_t.yaml")
    assert published.task == "promptable" and published.promptable == PromptableConfig()
    assert (published.optim.lr, published.optim.steps, published.prompts.per_image) == (1e-4, 400_000, 60)
    tiny = load_train_config(CONFIGS / "promptable_tiny.yaml")
    assert tiny.task == "promptable" and tiny.promptable.backbone == "tiny"


def test_tasks_and_targets_that_cannot_be_are_refused():
    assert TrainConfig().task == "whole_image"
    with pytest.raises(ValueError, match="task must be one of whole_image, promptable, got 'clicks'"):
        load_train_config(overrides=["task=clicks"])
    with pytest.raises(ValueError, match=r"prompts.targets must be at most promptable.masks_per_prompt=3, got 6"):
        load_train_config(overrides=["promptable.masks_per_prompt=3"])

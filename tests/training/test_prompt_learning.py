"""Model, prompts and losses together: a click on a shape gives the shape, and the shapes that it lies in."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.nested_shapes import nested
from training.config import PromptConfig, load_train_config
from training.data.corrections import with_corrections
from training.data.prompts import batch_of, draw_prompts
from training.engine.optim import build_optimiser, set_lr
from training.models.promptable import PromptableModel
from training.objectives import best_masks, build_objective
from training.samples import collate

TINY = [
    "task=promptable", "promptable.backbone=tiny", "promptable.width=64", "promptable.heads=4",
    "promptable.encoder_layers=1", "promptable.encoder_feedforward=64", "promptable.decoder_layers=3",
    "promptable.decoder_feedforward=128", "loss.points=512", "prompts.per_image=8", "optim.backbone_factor=1",
    "optim.lr=2e-3", "optim.clip_norm=1", "optim.schedule=cosine",
]  # fmt: skip
UNSEEN = 10_000
"""Of prompts that training did not draw."""


def learn(samples, *, steps, more=()):
    config = load_train_config(None, [*TINY, *more, f"optim.steps={steps}"])
    torch.manual_seed(0)
    model, objective = PromptableModel(config.promptable).train(), build_objective(config)
    optimiser = build_optimiser(model, config.optim)
    for step in range(steps):
        set_lr(optimiser, step, config.optim)
        first = step * len(samples)
        batch = collate([dataclasses.replace(x, position=first + i) for i, x in enumerate(samples)])
        optimiser.zero_grad()
        objective(model, batch).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        optimiser.step()
    return model.eval()


@torch.no_grad()
def scores(model, samples, *, box_share=0.0, prompts=20):
    """(targets,) the IoU of each target with the best of the six masks; (prompts,) that of the one of highest score."""
    batch, best, top = collate(samples), [], []
    config = PromptConfig(per_image=prompts, box_share=box_share)
    asked = [draw_prompts(t, config, np.random.default_rng(UNSEEN + i)) for i, t in enumerate(batch.targets)]
    output = model.decode(model.embed(batch.images_BCHW, batch.sizes_hw), batch_of(asked))
    for image, (of_image, targets) in enumerate(zip(asked, batch.targets, strict=True)):
        masks_NHW = targets.masks_NHW
        logits_PQHW = functional.interpolate(output.mask_logits(image), size=masks_NHW.shape[1:], mode="bilinear")
        for p, (found_QHW, fits_N) in enumerate(zip(logits_PQHW > 0, of_image.fits_PN, strict=True)):
            meant_MHW = masks_NHW[fits_N]
            shared_QM = (found_QHW[:, None] & meant_MHW).sum(dim=(2, 3))
            iou_QM = shared_QM / (found_QHW[:, None] | meant_MHW).sum(dim=(2, 3)).clamp(min=1)
            best += iou_QM.amax(dim=0).tolist()
            top.append(iou_QM[output.ious_LBPQ[-1, image, p].argmax()].max().item())
    return np.array(best), np.array(top)


@torch.no_grad()
def scores_while_corrected(model, samples, *, rounds=2, prompts=20):
    """(rounds + 1, prompts): the IoU of the mask of highest score with the one mask that is meant, click by click."""
    batch, scores = collate(samples), []
    config = PromptConfig(per_image=prompts, box_share=0.0)
    asked = [draw_prompts(t, config, np.random.default_rng(UNSEEN + i)) for i, t in enumerate(batch.targets)]
    features = model.embed(batch.images_BCHW, batch.sizes_hw)
    for turn in range(rounds + 1):
        output = model.decode(features, batch_of(asked))
        scores.append([])
        for image, targets in enumerate(batch.targets):
            shown_Phw = best_masks(output, image)
            meant_Phw = targets.masks_NHW[asked[image].targets(1)[:, 0], 2::4, 2::4]
            shared_P = (meant_Phw & (shown_Phw > 0)).sum(dim=(1, 2))
            scores[-1] += (shared_P / (meant_Phw | (shown_Phw > 0)).sum(dim=(1, 2)).clamp(min=1)).tolist()
            rng = np.random.default_rng((UNSEEN, image, turn))
            asked[image] = with_corrections(asked[image], targets, shown_Phw, batch.sizes_hw[image], rng)
    return np.array(scores)


@pytest.mark.slow
def test_nested_shapes_are_learned():
    samples = [nested(seed) for seed in range(4)]
    model = learn(samples, steps=150)
    best, top = scores(model, samples)
    assert best.mean() > 0.8 and top.mean() > 0.8 and np.quantile(best, 0.1) > 0.5
    best, _ = scores(model, samples, box_share=1.0)
    assert best.mean() > 0.8
    first, second, third = scores_while_corrected(model, samples).mean(axis=1)
    assert first + 0.05 < second < third


def test_shapes_of_two_small_images_are_learned():
    samples = [nested(seed, 64) for seed in range(2)]
    best, top = scores(learn(samples, steps=80, more=["optim.lr=4e-3", "prompts.corrections=0"]), samples)
    assert best.mean() > 0.7 and top.mean() > 0.65

"""The losses of a promptable model: those of the loop, in value and in gradient, and what they are for."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.reference import prompts as reference
from tests.training.drawn_prompts import answers, leaves, wanted
from tests.training.drawn_targets import boxes
from training.boxes import boxes_of_masks
from training.config import LossConfig
from training.models.points import draw_points
from training.models.prompt_criterion import PromptCriterion
from training.prompts import PromptOutput, PromptTargets
from training.samples import Targets

CONFIG = LossConfig(points=40)
WEIGHTS = (5, 5, 5, 2, 1)
COUNTS = [[(2, 1, 3), (6, 0, 2)], [(1, 4, 0), (0, 0, 0)], [(0, 0, 0), (0, 0, 0)]]
COUNT_NAMES = ["few and six", "an image without masks", "no masks at all"]


def points_for(targets, config=CONFIG):
    rng = torch.Generator().manual_seed(1)
    return [draw_points(config, rng) for _ in targets]


def losses_of(output, targets, config=CONFIG):
    return PromptCriterion(config).at_points(output, targets, points_for(targets, config))


def terms(losses):
    """(L, 5)."""
    each = (losses.mask_L, losses.dice_L, losses.box_L, losses.giou_L, losses.iou_L)
    return torch.stack(each, dim=1).detach().numpy()


def by_loop(embeddings, ious, boxes_LBPQ4, features, targets, config=CONFIG):
    """float64 (L, 5) from float64 arrays."""
    logits = np.einsum("lbpqc,bchw->lbpqhw", embeddings, features)
    found = [(t.masks.masks_NHW.double().numpy(), t.target_PT.numpy()) for t in targets]
    at = [
        tuple(p.double().numpy() for p in (x.matching_K2, x.candidates_K2, x.uniform_K2))
        for x in points_for(targets, config)
    ]
    last = logits[-1], boxes_LBPQ4[-1]
    layers = zip(logits, boxes_LBPQ4, ious, strict=True)
    return np.array([reference.layer_losses(last, layer, found, at, config) for layer in layers])


def arrays(output):
    return [leaf.detach().double().numpy() for leaf in leaves(output)]


@pytest.mark.parametrize("drop_iou", [0.0, 0.15])
@pytest.mark.parametrize("counts", COUNTS, ids=COUNT_NAMES)
def test_losses_equal_the_loop(counts, drop_iou):
    output, targets, config = answers(), wanted(counts), dataclasses.replace(CONFIG, drop_iou=drop_iou)
    losses = losses_of(output, targets, config)
    expected = by_loop(*arrays(output), targets, config)
    np.testing.assert_allclose(terms(losses), expected, atol=1e-5)
    assert losses.total.item() == pytest.approx(expected.sum(axis=0) @ WEIGHTS, rel=1e-5)


def test_a_target_may_be_asked_for_several_times():
    output, targets = answers(images=1, prompts=2), wanted([(6, 6)])
    repeated_PT = torch.tensor([[3, 1, 3, 1, 3, 1], [5, 5, 5, 5, 5, 5]])
    targets = [dataclasses.replace(targets[0], target_PT=repeated_PT)]
    np.testing.assert_allclose(terms(losses_of(output, targets)), by_loop(*arrays(output), targets), atol=1e-5)


def test_gradients_equal_the_differences_of_the_loop():
    output, targets = answers(prompts=2), wanted([(2, 3), (1, 0)])
    gradients = torch.autograd.grad(losses_of(output, targets).total, leaves(output))
    rng, values = np.random.default_rng(3), arrays(output)
    for place, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        sides = []
        for step in (1e-5, -1e-5):
            moved = [*values]
            moved[place] = values[place] + step * direction
            sides.append(by_loop(*moved, targets).sum(axis=0) @ WEIGHTS)
        slope = (sides[0] - sides[1]) / 2e-5
        assert (gradient.double().numpy() * direction).sum() == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_layers_are_compared_with_the_targets_that_the_last_one_was_matched_with():
    output, targets = answers(layers=3), wanted(COUNTS[0])
    repeated = PromptOutput(
        *(x[[2, 1, 2]] for x in (output.embeddings_LBPQC, output.ious_LBPQ, output.boxes_LBPQ4)), output.features_BChw
    )
    found, expected = terms(losses_of(repeated, targets)), terms(losses_of(output, targets))
    np.testing.assert_allclose(found, expected[[2, 1, 2]], rtol=1e-6)
    other = dataclasses.replace(repeated, boxes_LBPQ4=repeated.boxes_LBPQ4.flip(3))
    assert not np.allclose(terms(losses_of(other, targets))[1, 0], expected[1, 0], rtol=1e-3)


def test_prompts_do_not_know_one_another():
    output, targets = answers(images=1), wanted([(2, 1, 3)])
    whole = terms(losses_of(output, targets)) * (6, 6, 6, 6, 3)
    parts = 0
    for prompt, pairs in enumerate((2, 1, 3)):
        only = slice(prompt, prompt + 1)
        layers = (x[:, :, only] for x in (output.embeddings_LBPQC, output.ious_LBPQ, output.boxes_LBPQ4))
        asked = [dataclasses.replace(targets[0], target_PT=targets[0].target_PT[only])]
        losses = losses_of(PromptOutput(*layers, output.features_BChw), asked)
        parts = parts + terms(losses) * (pairs, pairs, pairs, pairs, 1)
    np.testing.assert_allclose(whole, parts, rtol=1e-4)


def test_masks_without_a_target_learn_what_they_are_worth_and_nothing_else():
    output, targets = answers(images=1, prompts=2), wanted([(2, 0)])
    of_embeddings, of_ious, of_boxes, _ = torch.autograd.grad(losses_of(output, targets).total, leaves(output))
    matched_Q = of_embeddings[0, 0, 0].abs().sum(dim=1) > 0
    assert matched_Q.sum() == 2 and torch.equal(of_boxes[0, 0, 0].abs().sum(dim=1) > 0, matched_Q)
    assert of_ious[:, 0, 0].ne(0).all()
    for gradient in (of_embeddings, of_ious, of_boxes):
        assert gradient[:, 0, 1].eq(0).all()


def perfect(masks_NHW, scale=12.0):
    """The answer to one prompt that gives every mask, in their order."""
    N = len(masks_NHW)
    return PromptOutput(
        torch.eye(N)[None, None, None],
        torch.ones(1, 1, 1, N),
        boxes_of_masks(masks_NHW)[None, None, None],
        torch.where(masks_NHW, scale, -scale)[None],
    )


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much():
    masks_NHW = boxes(4, (32, 48), seed=3)
    targets = [PromptTargets(Targets(masks_NHW), torch.tensor([[3, 1, 0, 2]]))]
    right = perfect(masks_NHW)
    good = losses_of(right, targets)
    assert good.dice_L.item() < 0.2 and good.mask_L.item() < 0.2
    assert good.box_L.item() < 1e-6 and good.giou_L.item() < 1e-6 and good.iou_L.item() < 1e-6
    wrong = losses_of(dataclasses.replace(right, features_BChw=-right.features_BChw), targets)
    assert wrong.total > 20 * good.total and wrong.iou_L.item() > 0.5


def test_the_predicted_iou_is_compared_with_the_measured_one():
    target_HW = torch.zeros(1, 32, 32, dtype=torch.bool)
    target_HW[0, :16] = True
    half_HW = target_HW.clone()
    half_HW[0, 8:] = False
    output = dataclasses.replace(perfect(half_HW), ious_LBPQ=torch.tensor([[[[0.8]]]]))
    losses = losses_of(output, [PromptTargets(Targets(target_HW), torch.tensor([[0]]))])
    assert losses.iou_L.item() == pytest.approx(0.3**2)


def test_where_masks_say_nothing_boxes_decide():
    masks_NHW = boxes(2, (32, 48), seed=3)
    right = perfect(masks_NHW)
    targets = [PromptTargets(Targets(masks_NHW), torch.tensor([[0, 1]]))]
    nothing = dataclasses.replace(right, embeddings_LBPQC=torch.zeros_like(right.embeddings_LBPQC))
    assert losses_of(nothing, targets).box_L.item() < 1e-6
    turned = dataclasses.replace(nothing, boxes_LBPQ4=nothing.boxes_LBPQ4.flip(3))
    assert losses_of(turned, targets).box_L.item() < 1e-6


@pytest.mark.parametrize("counts", COUNTS[1:], ids=COUNT_NAMES[1:])
def test_gradients_reach_everything_also_without_masks(counts):
    output, targets = answers(), wanted(counts)
    losses = losses_of(output, targets)
    gradients = torch.autograd.grad(losses.total, leaves(output))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(gradient.eq(0).all() for gradient in gradients) == (not any(map(any, counts)))
    assert (losses.total == 0) == (not any(map(any, counts)))


def test_equal_predictions_give_equal_losses_in_any_precision_of_the_network():
    output, targets = answers(), wanted(COUNTS[0])
    plain = losses_of(output, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = losses_of(output, targets)
    assert cast.total.dtype == torch.float32 and torch.equal(cast.total, plain.total)
    halved = PromptOutput(*(leaf.detach().bfloat16() for leaf in leaves(output)))
    full = PromptOutput(*(leaf.float() for leaf in leaves(halved)))
    assert torch.equal(losses_of(halved, targets).total, losses_of(full, targets).total)


def test_what_a_log_shows():
    losses = losses_of(answers(), wanted(COUNTS[0]))
    shown = losses.scalars()
    assert list(shown) == ["loss", "mask", "dice", "box", "giou", "iou"]
    assert shown["loss"] == losses.total and shown["giou"] == losses.giou_L[1]
    assert not any(value.requires_grad for value in shown.values())


def test_targets_that_do_not_fit_are_refused():
    output, targets = answers(), wanted(COUNTS[0])
    with pytest.raises(ValueError, match="targets and points must be of 2 images, got 1 and 1"):
        losses_of(output, targets[:1])
    with pytest.raises(ValueError, match=r"targets must be of 3 prompts, got \[3, 2\]"):
        losses_of(output, [targets[0], dataclasses.replace(targets[1], target_PT=targets[1].target_PT[:2])])
    with pytest.raises(ValueError, match="at most as many targets as masks, 6, got 7"):
        losses_of(output, wanted([(7, 1, 1), (1, 1, 1)]))


def broken(output, what):
    """The same predictions, some of which are no numbers."""
    values = getattr(output, what).detach().clone()
    values[-1, 0] = float("nan")
    return dataclasses.replace(output, **{what: values})


@pytest.mark.parametrize("what", ["embeddings_LBPQC", "boxes_LBPQ4", "features_BChw"])
def test_predictions_that_cannot_be_matched_are_refused(what):
    with pytest.raises(FloatingPointError, match="training has diverged"):
        losses_of(broken(answers(), what), wanted([(6, 6, 6), (6, 6, 6)]))


def test_what_is_not_matched_and_not_finite_is_in_the_loss():
    losses = losses_of(broken(answers(), "ious_LBPQ"), wanted([(6, 6, 6), (6, 6, 6)]))
    assert losses.total.isnan() and losses.iou_L[-1].isnan()


WORKER = """
import sys, torch
from tests.training.test_prompt_criterion import shared_gradient
torch.set_num_threads(1)
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
gradients = shared_gradient([rank])
for gradient in gradients:
    torch.distributed.all_reduce(gradient)
if rank == 0:
    torch.save([gradient / 2 for gradient in gradients], store + ".gradients")
torch.distributed.destroy_process_group()
"""


def shared_gradient(images):
    """The gradient with regard to what shifts all predictions, as a network's weights do; there is one mask in all."""
    output, targets = answers(), wanted([(0, 1, 0), (0, 0, 0)])
    points = points_for(targets)
    shifts = [torch.zeros(n, requires_grad=True) for n in (output.embeddings_LBPQC.shape[-1], 1, 4)]
    layers = (output.embeddings_LBPQC, output.ious_LBPQ[..., None], output.boxes_LBPQ4)
    embeddings, ious, boxes_LBPQ4 = (x[:, images] + shift for x, shift in zip(layers, shifts, strict=True))
    chosen = PromptOutput(embeddings, ious[..., 0], boxes_LBPQ4, output.features_BChw[images])
    losses = PromptCriterion(CONFIG).at_points(chosen, [targets[i] for i in images], [points[i] for i in images])
    return torch.autograd.grad(losses.total, shifts)


def test_two_workers_have_the_gradient_of_one(tmp_path):
    command = [sys.executable, "-c", WORKER]
    workers = [subprocess.Popen([*command, str(rank), str(tmp_path / "store")], cwd=REPOSITORY) for rank in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    together = torch.load(tmp_path / "store.gradients", weights_only=True)
    for ours, expected in zip(together, shared_gradient([0, 1]), strict=True):
        assert expected.abs().sum() > 0
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)

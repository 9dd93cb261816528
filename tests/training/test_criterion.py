import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.reference import criterion as reference
from tests.reference.dense import dense_masks
from tests.training.drawn_targets import boxes, leaves, predictions
from tests.training.mask2former_loss import published_losses
from training.config import LossConfig
from training.models.criterion import Criterion
from training.models.points import draw_points
from training.samples import FactoredOutput, Targets

CONFIG = LossConfig(points=40)
COUNTS = [(4, 2), (1, 12), (3, 0), (0, 0)]
COUNT_NAMES = ["few masks", "one mask, and more masks than queries", "an image without masks", "no masks at all"]


def batch(counts, config=CONFIG, size_hw=(32, 48)):
    rng = torch.Generator().manual_seed(1)
    targets = [Targets(boxes(count, size_hw, seed)) for seed, count in enumerate(counts)]
    return targets, [draw_points(config, rng) for _ in targets]


def by_loop(output, targets, points, config):
    """float64 (L, 3): class, mask and dice of every layer."""
    masks = [found.masks_NHW.double().numpy() for found in targets]
    at = [tuple(p.double().numpy() for p in (x.matching_K2, x.candidates_K2, x.uniform_K2)) for x in points]
    return np.array(
        [
            reference.layer_losses(
                class_logits_BQ2.detach().double().numpy(),
                mask_logits_BQhw.detach().double().numpy(),
                masks,
                at,
                config,
            )
            for class_logits_BQ2, mask_logits_BQhw in zip(output.class_logits_LBQ2, dense_masks(output), strict=True)
        ]
    )


def terms(losses):
    return torch.stack((losses.class_L, losses.mask_L, losses.dice_L), dim=1).detach().numpy()


@pytest.mark.parametrize("counts", COUNTS, ids=COUNT_NAMES)
def test_losses_equal_the_loop(counts):
    output = predictions(layers=2, images=2, queries=8, size_hw=(8, 12))
    targets, points = batch(counts)
    losses = Criterion(CONFIG).at_points(output, targets, points)
    expected = by_loop(output, targets, points, CONFIG)
    np.testing.assert_allclose(terms(losses), expected, atol=1e-5)
    assert losses.total.item() == pytest.approx(expected.sum(axis=0) @ (2, 5, 5), rel=1e-5)


@pytest.mark.parametrize("counts", COUNTS[:2], ids=COUNT_NAMES[:2])
def test_all_terms_of_all_layers_and_their_gradients_equal_the_published_ones(counts):
    config = LossConfig(points=300)
    output = predictions(layers=4, images=2, queries=10, size_hw=(24, 40))
    targets, points = batch(counts, config, size_hw=(96, 160))
    losses = Criterion(config).at_points(output, targets, points)
    published = published_losses(
        output, dense_masks(output), [found.masks_NHW.float() for found in targets], points, config
    )
    for ours, theirs in zip((losses.class_L, losses.mask_L, losses.dice_L), published, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    total = sum(weight * loss_L.sum() for weight, loss_L in zip((2, 5, 5), published, strict=True))
    expected = torch.autograd.grad(total, leaves(output))
    for ours, theirs in zip(torch.autograd.grad(losses.total, leaves(output)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_prediction_of_another_layer_is_another_loss():
    output = predictions(layers=3, images=1, queries=8, size_hw=(8, 12))
    targets, points = batch([3])
    losses = Criterion(CONFIG).at_points(output, targets, points)
    turned = dataclasses.replace(output, embeddings_LBQC=output.embeddings_LBQC.flip(0))
    turned = dataclasses.replace(turned, class_logits_LBQ2=output.class_logits_LBQ2.flip(0))
    np.testing.assert_allclose(
        terms(Criterion(CONFIG).at_points(turned, targets, points)), terms(losses)[::-1], rtol=1e-6
    )


def test_drop_loss_takes_no_loss_of_masks_without_overlap():
    config = dataclasses.replace(CONFIG, drop_iou=0.2)
    output = predictions(layers=2, images=2, queries=8, size_hw=(8, 12))
    targets, points = batch([4, 2])
    losses = Criterion(config).at_points(output, targets, points)
    np.testing.assert_allclose(terms(losses), by_loop(output, targets, points, config), atol=1e-5)
    plain = Criterion(CONFIG).at_points(output, targets, points)
    assert (losses.mask_L < plain.mask_L).all() and losses.mask_L.sum() > 0
    assert torch.equal(losses.class_L, plain.class_L)


def test_a_right_prediction_is_lost_less_than_a_wrong_one():
    masks_NHW = boxes(3, (32, 48))
    right_BChw = torch.where(masks_NHW, 12.0, -12.0)[None]
    class_logits_LBQ2, embeddings_LBQC = torch.tensor([[[[9.0, -9.0]] * 3]]), torch.eye(3)[None, None]
    right, wrong = (FactoredOutput(sign * class_logits_LBQ2, embeddings_LBQC, sign * right_BChw) for sign in (1, -1))
    criterion, seed = Criterion(CONFIG), torch.Generator()
    good = criterion(right, [Targets(masks_NHW)], seed.manual_seed(0))
    bad = criterion(wrong, [Targets(masks_NHW)], seed.manual_seed(0))
    assert good.class_L.item() < 1e-4 and good.dice_L.item() < 0.3 and good.total < bad.total / 20


def test_equal_seeds_give_equal_losses():
    output, (targets, _) = predictions(layers=2, images=2, queries=8, size_hw=(8, 12)), batch([4, 2])
    totals = [
        Criterion(CONFIG)(output, targets, torch.Generator().manual_seed(seed)).total.item() for seed in (5, 5, 6)
    ]
    assert totals[0] == totals[1] != totals[2]


def test_gradients_reach_everything_also_without_masks():
    output = predictions(layers=2, images=1, queries=4, size_hw=(8, 12))
    targets, points = batch([0])
    total = Criterion(CONFIG).at_points(output, targets, points).total
    of_class, of_embeddings, of_features = torch.autograd.grad(total, leaves(output))
    assert of_class.abs().sum() > 0 and of_embeddings.eq(0).all() and of_features.eq(0).all()


def test_an_empty_mask_asks_for_an_empty_prediction():
    output = predictions(layers=1, images=1, queries=4, size_hw=(8, 12))
    empty = [Targets(torch.zeros(1, 32, 48, dtype=torch.uint8))]
    losses = Criterion(CONFIG)(output, empty, torch.Generator().manual_seed(0))
    losses.total.backward()
    assert losses.total.isfinite() and output.embeddings_LBQC.grad.isfinite().all()


def test_autocast_changes_nothing():
    output, (targets, points) = predictions(layers=2, images=2, queries=8, size_hw=(8, 12)), batch([4, 2])
    plain = Criterion(CONFIG).at_points(output, targets, points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = Criterion(CONFIG).at_points(output, targets, points)
    assert cast.total.dtype == torch.float32 and torch.equal(cast.total, plain.total)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_compared_in_full(half):
    output, (targets, points) = predictions(layers=2, images=2, queries=8, size_hw=(8, 12)), batch([4, 2])
    halved = dataclasses.replace(output, **{k: v.to(half) for k, v in vars(output).items()})
    full = dataclasses.replace(output, **{k: v.float() for k, v in vars(halved).items()})
    losses = Criterion(CONFIG).at_points(halved, targets, points)
    assert losses.total.dtype == torch.float32
    exact = Criterion(CONFIG).at_points(full, targets, points)
    torch.testing.assert_close(losses.total, exact.total, rtol=1e-5, atol=0)


def test_targets_for_another_number_of_images_are_refused():
    output, (targets, points) = predictions(layers=1, images=2, queries=4, size_hw=(8, 12)), batch([4])
    with pytest.raises(ValueError, match="targets and points must be of 2 images, got 1 and 1"):
        Criterion(CONFIG).at_points(output, targets, points)


def broken(output, what):
    """The same predictions, one of which is no number."""
    values = getattr(output, what).detach().clone()
    values[-1, 0, 0] = float("nan")
    return dataclasses.replace(output, **{what: values})


@pytest.mark.parametrize("what", ["class_logits_LBQ2", "embeddings_LBQC", "features_BChw"])
def test_predictions_that_cannot_be_matched_are_refused(what):
    output, (targets, points) = predictions(layers=2, images=1, queries=4, size_hw=(8, 12)), batch([2])
    with pytest.raises(FloatingPointError, match="training has diverged"):
        Criterion(CONFIG).at_points(broken(output, what), targets, points)


def test_where_nothing_is_matched_the_loss_says_what_is_not_finite():
    output, (targets, points) = predictions(layers=2, images=1, queries=4, size_hw=(8, 12)), batch([0])
    losses = Criterion(CONFIG).at_points(broken(output, "class_logits_LBQ2"), targets, points)
    assert losses.total.isnan()


WORKER = """
import json, sys, torch
from tests.training.test_criterion import shared_gradient
torch.set_num_threads(1)
rank, store, masks = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
gradients = shared_gradient([rank], masks)
for gradient in gradients:
    torch.distributed.all_reduce(gradient)
if rank == 0:
    torch.save([gradient / 2 for gradient in gradients], store + ".gradients")
torch.distributed.destroy_process_group()
"""


def shared_gradient(images, masks):
    """The gradient with regard to two tensors that shift all predictions, as a network's weights do."""
    output, (targets, points) = predictions(layers=2, images=2, queries=8, size_hw=(8, 12)), batch(masks)
    shifts = (torch.zeros(2, requires_grad=True), torch.zeros(output.embeddings_LBQC.shape[3], requires_grad=True))
    chosen = dataclasses.replace(
        output,
        class_logits_LBQ2=output.class_logits_LBQ2[:, images] + shifts[0],
        embeddings_LBQC=output.embeddings_LBQC[:, images] + shifts[1],
        features_BChw=output.features_BChw[images],
    )
    losses = Criterion(CONFIG).at_points(chosen, [targets[i] for i in images], [points[i] for i in images])
    return torch.autograd.grad(losses.total, shifts)


@pytest.mark.parametrize("masks", [[9, 1], [1, 0]])
def test_two_workers_have_the_gradient_of_one(tmp_path, masks):
    command = [sys.executable, "-c", WORKER]
    root = Path(__file__).resolve().parent.parent.parent
    given = [str(tmp_path / "store"), json.dumps(masks)]
    workers = [subprocess.Popen([*command, str(rank), *given], cwd=root) for rank in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    together = torch.load(tmp_path / "store.gradients", weights_only=True)
    for ours, expected in zip(together, shared_gradient([0, 1], masks), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)

import numpy as np
import pytest
import torch

from tests.reference import criterion as reference
from training.models.point_losses import most_uncertain, points_taken, product_losses, soft_iou
from training.models.points import LossPoints


def drawn_points(candidates, uncertain, uniform):
    rng = torch.Generator().manual_seed(1)
    return LossPoints(torch.rand(1, 2), *(torch.rand(n, 2, generator=rng) for n in (candidates, uniform)), uncertain)


def drawn(layers, masks, points, dtype=torch.float32):
    """Embeddings and features that gradients reach, and targets."""
    rng = torch.Generator().manual_seed(0)
    embeddings_LMC = torch.randn(layers, masks, 5, generator=rng, dtype=dtype).requires_grad_()
    features_CP = torch.randn(5, points, generator=rng, dtype=dtype).mul_(2).requires_grad_()
    return embeddings_LMC, features_CP, list(torch.rand(layers, masks, points, generator=rng, dtype=dtype))


def at_all_points(logits_MP, targets_MP):
    """The losses of one layer with these logits: each feature is the logit of a mask."""
    points = drawn_points(0, 0, logits_MP.shape[1])
    return product_losses(torch.eye(len(logits_MP))[None], logits_MP, [targets_MP], points)[0]


def test_losses_equal_the_loop():
    points = drawn_points(40, 20, 20)
    embeddings_LMC, features_CP, targets = drawn(3, 5, 60)
    losses_LM2 = product_losses(embeddings_LMC, features_CP, targets, points)
    for embeddings_MC, targets_MP, losses_M2 in zip(embeddings_LMC, targets, losses_LM2, strict=True):
        logits_MP = (embeddings_MC @ features_CP).detach()
        taken_MK = points_taken(logits_MP, points)
        at_points = (values_MP.double().gather(1, taken_MK).numpy() for values_MP in (logits_MP, targets_MP))
        expected = [(reference.cross_entropy(x, t), reference.dice(x, t)) for x, t in zip(*at_points, strict=True)]
        np.testing.assert_allclose(losses_M2.detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("masks", [0, 3])
def test_gradients_by_hand_equal_differences(masks):
    embeddings_LMC, features_CP, targets = drawn(2, masks, 9, torch.float64)
    points = drawn_points(6, 3, 3)
    assert torch.autograd.gradcheck(lambda *at: product_losses(*at, targets, points), (embeddings_LMC, features_CP))


def test_certain_predictions_have_finite_losses_and_gradients():
    logits_MP = torch.tensor([[1e4, -1e4, 1e4, -1e4]], requires_grad=True)
    losses_M2 = at_all_points(logits_MP, torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
    assert losses_M2.tolist() == [[5e3, pytest.approx(1 - 3 / 5)]]
    assert torch.autograd.grad(losses_M2.sum(), logits_MP)[0].tolist() == [[0, 0, 0.25, -0.25]]


def test_an_empty_target_is_lost_less_the_less_is_predicted():
    nothing, something = at_all_points(torch.tensor([[-99.0, -99.0], [99.0, -99.0]]), torch.zeros(2, 2))
    assert nothing.tolist() == [0, 0] and something.tolist() == [49.5, 0.5]


@pytest.mark.parametrize("count", [0, 1, 6, 7])
def test_the_most_uncertain_points_are_those_next_to_the_border(count):
    logits_MK = torch.tensor([[5.0, -0.1, 3.0, -4.0, 0.2, 9.0, -7.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
    orders = [[1, 4, 2, 3, 0, 6, 5], [0, 1, 2, 3, 4, 5, 6]]
    chosen = most_uncertain(logits_MK, count)
    assert chosen.shape == (2, count)
    assert [set(row) for row in chosen.tolist()] == [set(order[:count]) for order in orders]


def test_no_masks_have_no_uncertain_points():
    assert most_uncertain(torch.zeros(0, 9), 4).shape == (0, 4)


def test_a_mask_takes_uncertain_candidates_and_all_uniform_points():
    points = LossPoints(torch.rand(1, 2), torch.rand(4, 2), torch.rand(2, 2), uncertain=2)
    taken = points_taken(torch.tensor([[9.0, -1.0, 8.0, 2.0, 7.0, 7.0], [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]]), points)
    assert [sorted(row) for row in taken.tolist()] == [[1, 3, 4, 5], [0, 1, 4, 5]]


def test_overlap_of_nothing_with_nothing():
    assert soft_iou(torch.tensor([[-1.0, -1.0]]), torch.zeros(1, 2)).item() == 0
    assert soft_iou(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)

import numpy as np
import pytest
import torch

from tests.reference import criterion as reference
from training.models.point_losses import at_uncertain_points, most_uncertain, point_losses, soft_iou
from training.models.points import LossPoints


def test_losses_equal_the_loop():
    rng = torch.Generator().manual_seed(0)
    logits_MK, targets_MK = 4 * torch.randn(5, 40, generator=rng), torch.rand(5, 40, generator=rng)
    expected = [
        (reference.cross_entropy(x, t), reference.dice(x, t))
        for x, t in zip(logits_MK.double().numpy(), targets_MK.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(point_losses(logits_MK, targets_MK).numpy(), expected, rtol=1e-5)


def test_an_empty_target_is_lost_less_the_less_is_predicted():
    nothing, something = point_losses(torch.tensor([[-99.0, -99.0], [99.0, -99.0]]), torch.zeros(2, 2))
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


def test_points_taken_keep_logits_and_targets_together():
    points = LossPoints(torch.rand(1, 2), torch.rand(4, 2), torch.rand(1, 2), uncertain=2)
    logits_MK = torch.tensor([[9.0, -1.0, 8.0, 2.0, 7.0]], requires_grad=True)
    logits, targets = at_uncertain_points(logits_MK, logits_MK.detach() * 10, points)
    assert sorted(logits.tolist()[0][:2]) == [-1, 2] and logits.tolist()[0][2] == 7
    assert torch.equal(targets, logits.detach() * 10)
    assert torch.autograd.grad(logits.sum(), logits_MK)[0].tolist() == [[0, 1, 0, 1, 1]]


def test_overlap_of_nothing_with_nothing():
    assert soft_iou(torch.tensor([[-1.0, -1.0]]), torch.zeros(1, 2)).item() == 0
    assert soft_iou(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)

import numpy as np
import pytest
import torch

from tests.reference import criterion as reference
from tests.training.drawn_targets import boxes
from training.config import LossConfig
from training.models.points import LossPoints, cell_centres, draw_points, sample_planes


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.uint8])
def test_values_between_cells_equal_the_loop(count, dtype):
    rng = torch.Generator().manual_seed(count)
    planes_NHW = (torch.randn(count, 5, 7, generator=rng) * 3).to(dtype) if dtype.is_floating_point else None
    planes_NHW = boxes(count, (5, 7)).to(dtype) if planes_NHW is None else planes_NHW
    points_K2 = torch.rand(20, 2, generator=rng)
    points_K2[:4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.0], [1.0, 0.5]])
    values_NK = sample_planes(planes_NHW, points_K2)
    assert values_NK.dtype == torch.float32 and values_NK.shape == (count, 20)
    expected = reference.values_at(planes_NHW.double().numpy(), points_K2.double().numpy())
    np.testing.assert_allclose(values_NK.numpy(), expected, atol=2e-6)


def test_large_masks_are_looked_up_in_groups():
    masks_NHW = torch.zeros(3, 1500, 1500, dtype=torch.bool)  # more than half of what becomes float at a time
    masks_NHW[1, :, :750] = True
    assert sample_planes(masks_NHW, torch.tensor([[0.25, 0.5], [0.75, 0.5]])).tolist() == [[0, 0], [1, 0], [0, 0]]


def test_gradients_reach_the_planes_also_when_there_are_none():
    planes_NHW = torch.zeros(9, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(sample_planes(planes_NHW, torch.tensor([[0.375, 0.125]])).sum(), planes_NHW)
    assert gradient.sum() == 9 and gradient[:, 0, 1].eq(1).all()
    (gradient,) = torch.autograd.grad(sample_planes(planes_NHW[:0], torch.rand(3, 2)).sum(), planes_NHW)
    assert gradient.eq(0).all()


def test_points_at_the_centres_give_the_cells_themselves():
    plane_HW = torch.arange(12.0).reshape(3, 4)
    torch.testing.assert_close(
        sample_planes(plane_HW[None], cell_centres((3, 4), plane_HW.device))[0], torch.arange(12.0)
    )


def test_points_are_uniform_sorted_and_equal_for_equal_seeds():
    config = LossConfig(points=5000)
    points = draw_points(config, torch.Generator().manual_seed(3))
    again = draw_points(config, torch.Generator().manual_seed(3))
    assert torch.equal(points.candidates_K2, again.candidates_K2)
    assert (len(points.matching_K2), len(points.candidates_K2), len(points.uniform_K2)) == (5000, 15000, 1250)
    assert points.uncertain == 3750
    for points_K2 in (points.matching_K2, points.candidates_K2, points.uniform_K2):
        counts, _, _ = np.histogram2d(*points_K2.numpy().T, bins=4, range=[[0, 1], [0, 1]])
        assert counts.sum() == len(points_K2) and np.ptp(counts) < 0.4 * counts.mean()
        rows = (points_K2[:, 1] * 256).floor()
        assert rows.diff().min() >= 0


@pytest.mark.parametrize(("importance", "counts"), [(0.0, (0, 0, 10)), (1.0, (30, 10, 0))])
def test_all_points_of_one_kind(importance, counts):
    points = draw_points(LossConfig(points=10, importance=importance), torch.Generator().manual_seed(0))
    assert (len(points.candidates_K2), points.uncertain, len(points.uniform_K2)) == counts


def test_more_uncertain_points_than_candidates_are_refused():
    with pytest.raises(ValueError, match=r"uncertain must be within \[0, 2\], got 3"):
        LossPoints(torch.rand(1, 2), torch.rand(2, 2), torch.rand(1, 2), 3)

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from tests.reference import criterion as reference
from tests.reference.dense import dense_masks
from tests.training.drawn_targets import boxes, predictions
from training.config import LossConfig
from training.models.mask_values import MaskValues, values_at
from training.models.matcher import assign, match_layers, matching_cost, pairwise_mask_cost
from training.models.points import cell_centres, sample_planes

CONFIG = LossConfig()


def test_the_cost_equals_the_loop():
    rng = torch.Generator().manual_seed(0)
    class_logits_Q2, embeddings_QC = torch.randn(6, 2, generator=rng), torch.randn(6, 8, generator=rng)
    features_Chw = 2 * torch.randn(8, 5, 5, generator=rng)
    points_K2, targets_NK = torch.rand(30, 2, generator=rng), torch.rand(3, 30, generator=rng)
    values = MaskValues(embeddings_QC, sample_planes(features_Chw, points_K2))
    cost_QN = matching_cost(class_logits_Q2, values, targets_NK, CONFIG)
    logits_Qhw = (embeddings_QC.double() @ features_Chw.double().flatten(1)).view(6, 5, 5)
    logits_QK = reference.values_at(logits_Qhw.numpy(), points_K2.double().numpy())
    expected = reference.cost_matrix(class_logits_Q2.numpy(), logits_QK, targets_NK.double().numpy(), CONFIG)
    np.testing.assert_allclose(cost_QN.numpy(), expected, rtol=1e-5)


def test_at_all_pixels_the_matching_is_that_of_the_full_cost():
    size_hw = (16, 24)
    masks_NHW = boxes(6, size_hw)
    output = predictions(layers=2, images=1, queries=20, size_hw=size_hw)
    centres_K2 = cell_centres(size_hw, masks_NHW.device)
    values = values_at(output, 0, centres_K2)
    pairs = match_layers(output.class_logits_LBQ2[:, 0], values, sample_planes(masks_NHW, centres_K2), CONFIG)
    layers = zip(output.class_logits_LBQ2, dense_masks(output), strict=True)
    for of_layer, (class_logits_BQ2, mask_logits_BQhw) in zip(pairs, layers, strict=True):
        full_QN = reference.cost_matrix(
            class_logits_BQ2[0].detach().double().numpy(),
            mask_logits_BQhw[0].detach().double().flatten(1).numpy(),
            masks_NHW.flatten(1).double().numpy(),
            CONFIG,
        )
        rows, columns = linear_sum_assignment(full_QN)
        found = list(zip(of_layer.query_M.tolist(), of_layer.target_M.tolist(), strict=True))
        assert sorted(found) == list(zip(rows.tolist(), columns.tolist(), strict=True))
        assert of_layer.target_M.tolist() == list(range(6))
    assert pairs[0].query_M.tolist() != pairs[1].query_M.tolist()


def test_many_queries_cost_the_same_as_few():
    rng = torch.Generator().manual_seed(0)
    class_logits_Q2, embeddings_QC = torch.randn(600, 2, generator=rng), torch.randn(600, 4, generator=rng)
    features_CK, targets_NK = torch.randn(4, 10, generator=rng), torch.rand(2, 10, generator=rng)
    cost_QN = matching_cost(class_logits_Q2, MaskValues(embeddings_QC, features_CK), targets_NK, CONFIG)
    assert cost_QN.shape == (600, 2)
    last = MaskValues(embeddings_QC[590:], features_CK)
    torch.testing.assert_close(cost_QN[590:], matching_cost(class_logits_Q2[590:], last, targets_NK, CONFIG))


def test_half_precision_is_matched_in_full():
    values = MaskValues(torch.full((1, 1), 60.0, dtype=torch.float16), torch.ones(1, 12_544))
    class_logits_Q2 = torch.zeros(1, 2, dtype=torch.float16)
    cost_QN = matching_cost(class_logits_Q2, values, torch.zeros(1, 12_544), CONFIG)
    assert cost_QN.dtype == torch.float32 and cost_QN.isfinite().all()  # the sum over points is beyond float16


def test_certain_predictions_have_finite_costs():
    logits_QK = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    targets_NK = torch.tensor([[1.0, 0.0]])
    cost_QN = pairwise_mask_cost(logits_QK.clone(), logits_QK @ targets_NK.T, targets_NK, CONFIG)
    torch.testing.assert_close(cost_QN, torch.tensor([[0.0], [5e4 + 5 * (1 - 1 / 3)]]))


@pytest.mark.parametrize("shape", [(5, 0), (2, 4), (4, 4)])
def test_as_many_pairs_as_there_can_be(shape):
    pairs = assign(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    assert len(pairs.query_M) == len(set(pairs.target_M.tolist())) == min(shape)
    assert pairs.query_M.dtype == pairs.target_M.dtype == torch.int64


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_predictions_that_are_not_finite_are_refused(value):
    cost_QN = torch.zeros(4, 2)
    cost_QN[2, 1] = value
    with pytest.raises(FloatingPointError, match=r"the predictions of 1 of 4 queries are not finite: training has div"):
        assign(cost_QN)

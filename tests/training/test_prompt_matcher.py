"""Tiny assignments: those of least cost, for all prompts at once."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from training.models.prompt_matcher import assign_all, match_prompts


@pytest.mark.parametrize(("queries", "targets"), [(6, 6), (6, 3), (6, 1), (4, 4), (3, 2), (1, 1), (8, 8)])
def test_assignments_equal_those_of_the_hungarian_algorithm(queries, targets):
    cost_PQT = torch.from_numpy(np.random.default_rng(queries).normal(size=(40, queries, targets)).astype(np.float32))
    query_PT = assign_all(cost_PQT)
    for cost_QT, query_T in zip(cost_PQT.numpy(), query_PT.tolist(), strict=True):
        chosen_Q, place_T = linear_sum_assignment(cost_QT)
        assert query_T == [int(chosen_Q[place_T == t][0]) for t in range(targets)]


def test_of_equal_costs_the_sum_is_least():
    cost_PQT = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (200, 6, 5)).astype(np.float32))
    query_PT = assign_all(cost_PQT)
    least = [cost_QT[linear_sum_assignment(cost_QT)].sum() for cost_QT in cost_PQT.numpy()]
    assert cost_PQT.gather(1, query_PT[:, None]).sum(dim=(1, 2)).tolist() == least
    assert all(len(set(query_T)) == 5 for query_T in query_PT.tolist())


def test_every_target_gets_a_mask_and_padding_gets_none():
    cost_PQT = torch.tensor([[[5.0, 0.0], [1.0, 9.0]], [[7.0, 2.0], [3.0, 9.0]], [[1.0, 1.0], [1.0, 1.0]]])
    pairs = match_prompts(cost_PQT, torch.tensor([[4, 2], [-1, 3], [-1, -1]]))
    assert len(pairs) == 3
    found = torch.stack((pairs.prompt_M, pairs.query_M, pairs.target_M), dim=1).tolist()
    assert found == [[0, 1, 4], [0, 0, 2], [1, 0, 3]]


def test_padding_costs_nothing_whatever_its_cost():
    cost_PQT = torch.tensor([[[1.0, float("nan")], [0.0, float("inf")]]])
    assert match_prompts(cost_PQT, torch.tensor([[0, -1]])).query_M.tolist() == [1]


@pytest.mark.parametrize("shape", [(0, 6, 6), (3, 6, 0)])
def test_nothing_to_match(shape):
    assert len(match_prompts(torch.zeros(shape), torch.zeros(shape[0], shape[2], dtype=torch.int64))) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_costs_that_are_not_finite_are_refused(value):
    cost_PQT = torch.zeros(3, 6, 2)
    cost_PQT[1, 4, 0] = value
    with pytest.raises(
        FloatingPointError, match="predictions for 1 of 3 prompts are not finite: training has diverged"
    ):
        match_prompts(cost_PQT, torch.tensor([[0, 1]] * 3))


def test_more_than_can_be_assigned():
    with pytest.raises(ValueError, match="at most as many targets as masks, 2, got 3"):
        assign_all(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="12 targets of 12 masks can be assigned in 479001600 ways"):
        assign_all(torch.zeros(1, 12, 12))

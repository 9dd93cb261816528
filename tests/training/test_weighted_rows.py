import pytest
import torch
from torch.nn import functional

from training.models.weighted_rows import weighted_rows


def given(sums=7, each=5, rows=4, width=3, dtype=torch.float32, index=torch.int32):
    rng = torch.Generator().manual_seed(0)
    table_TD = torch.randn(rows, width, generator=rng, dtype=dtype).requires_grad_()
    rows_NK = torch.randint(rows - 1, (sums, each), generator=rng).to(index)  # the last row is never asked for
    return table_TD, rows_NK, torch.randn(sums, each, generator=rng, dtype=dtype).requires_grad_()


def bag(table_TD, rows_NK, weights_NK):
    return functional.embedding_bag(rows_NK, table_TD, per_sample_weights=weights_NK, mode="sum")


def with_gradients(function, table_TD, rows_NK, weights_NK):
    sums_ND = function(table_TD, rows_NK, weights_NK)
    direction_ND = torch.arange(1.0, sums_ND.numel() + 1).view_as(sums_ND).to(sums_ND.dtype)
    return sums_ND, *torch.autograd.grad((sums_ND * direction_ND).sum(), (table_TD, weights_NK))


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equals_torch_in_sums_and_gradients(dtype, index):
    expected = with_gradients(bag, *given(dtype=dtype, index=index))
    for mine, other in zip(with_gradients(weighted_rows, *given(dtype=dtype, index=index)), expected, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, other)
    assert not expected[1][-1].any() and expected[1][0].any()


def test_gradients_are_those_of_differences():
    table_TD, rows_NK, weights_NK = given(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t, w: weighted_rows(t, rows_NK, w), (table_TD, weights_NK))


@pytest.mark.parametrize("fixed", [0, 2])
def test_what_needs_no_gradient_gets_none(fixed):
    inputs = given()
    inputs[fixed].requires_grad_(False)
    weighted_rows(*inputs).sum().backward()
    assert inputs[fixed].grad is None and inputs[2 - fixed].grad.any()


def test_a_gradient_that_is_not_contiguous():
    table_TD, rows_NK, weights_NK = given()
    weighted_rows(table_TD, rows_NK, weights_NK).T.sum(dim=0).mul(torch.arange(7.0)).sum().backward()
    found = table_TD.grad.clone()
    table_TD.grad = None
    bag(table_TD, rows_NK, weights_NK).sum(dim=1).mul(torch.arange(7.0)).sum().backward()
    torch.testing.assert_close(found, table_TD.grad)


def test_on_other_devices_the_result_has_its_shape():
    table_TD, rows_NK, weights_NK = (tensor.detach().to("meta") for tensor in given())
    sums_ND = weighted_rows(table_TD.requires_grad_(), rows_NK, weights_NK)
    assert sums_ND.shape == (7, 3) and sums_ND.device.type == "meta"

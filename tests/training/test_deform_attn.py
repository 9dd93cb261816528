from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.reference.deform_attn import deformable_attention as looped
from training.models.deform_attn import DeformableAttention, deformable_attention

SIZES = [(2, 5), (3, 1), (4, 3)]


def inputs(seed=0, *, queries=6, dtype=torch.float32, sizes=SIZES, margin=0.3):
    """Values, points (some outside of the map) and weights."""
    generator = torch.Generator().manual_seed(seed)
    cells = sum(h * w for h, w in sizes)
    value = torch.randn(2, cells, 2, 4, generator=generator).to(dtype).requires_grad_()
    points = torch.rand(2, queries, 2, len(sizes), 3, 2, generator=generator) * (1 + 2 * margin) - margin
    weights = torch.rand(2, queries, 2, len(sizes), 3, generator=generator)
    return value, points.requires_grad_(), weights.requires_grad_()


def gradients(function, value, points, weights, sizes=SIZES):
    seen = function(value, sizes, points, weights)
    direction = torch.randn(seen.shape, generator=torch.Generator().manual_seed(9))
    return seen, *torch.autograd.grad((seen * direction).sum(), (value, points, weights))


def test_equals_the_loops_forward_and_backward():
    for ours, theirs in zip(gradients(deformable_attention, *inputs()), gradients(looped, *inputs()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_differences():
    value, points, weights = (tensor.detach().double().requires_grad_() for tensor in inputs(3, queries=2))
    assert torch.autograd.gradcheck(lambda *x: deformable_attention(x[0], SIZES, *x[1:]), (value, points, weights))


def test_equals_transformers_forward_and_backward():
    modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    sizes = [(7, 11), (13, 5), (16, 16), (3, 9)]
    theirs = gradients(modeling.multi_scale_deformable_attention, *inputs(1, queries=40, sizes=sizes), sizes)
    ours = gradients(deformable_attention, *inputs(1, queries=40, sizes=sizes), sizes)
    for mine, other in zip(ours, theirs, strict=True):
        # Gradients of points grow with the map, and so do both sides' rounding errors.
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(mine / scale, other / scale, atol=1e-5, rtol=0)


def test_what_is_outside_counts_as_zeros():
    value, points, weights = inputs()
    far = torch.full_like(points, 1e9)
    assert not deformable_attention(value, SIZES, far, weights).any()
    assert not deformable_attention(value, SIZES, -far, weights).any()
    # Half a cell beyond the edge, half of the edge cell's value is left; a whole cell beyond, nothing.
    row = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    at = torch.tensor([-1 / 6, 0.0, 1.0, 7 / 6]).view(1, 4, 1, 1, 1, 1)
    spots = torch.cat((at, torch.full_like(at, 0.5)), dim=-1)
    seen = deformable_attention(row, [(1, 3)], spots, torch.ones(1, 4, 1, 1, 1))
    torch.testing.assert_close(seen.flatten(), torch.tensor([0.0, 0.5, 1.5, 0.0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype):
    value, points, weights = inputs(dtype=dtype)
    seen = deformable_attention(value, SIZES, points, weights)
    assert seen.dtype == dtype
    exact = deformable_attention(value.detach().float(), SIZES, points, weights)
    torch.testing.assert_close(seen.float(), exact, atol=0.05, rtol=0.02)
    seen.float().sum().backward()
    assert all(tensor.grad.isfinite().all() and tensor.grad.any() for tensor in (value, points, weights))


def test_what_is_no_number_comes_out_as_none():
    value, points, weights = inputs()
    with torch.no_grad():
        points[0, 2, 1, 0, 0, 0] = torch.nan
        points[1, 3, 0, 1, 2, 1] = torch.inf
    seen = deformable_attention(value, SIZES, points, weights).view(2, 6, 2, 4)
    assert seen[0, 2, 1].isnan().all() and seen.isnan().sum() == 4


@pytest.mark.parametrize("sizes", [[(2, 5), (3, 1)], [(2, 5), (3, 1), (4, 4)]])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes_hw must be 3 levels of 25 cells together"):
        deformable_attention(inputs()[0], sizes, *inputs()[1:])


def places(count):
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(5))


def test_the_module_equals_that_of_transformers():
    modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    theirs = modeling.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(16, 2, len(SIZES), 4)
    ours = DeformableAttention(16, 2, len(SIZES), 4)
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    value = torch.randn(2, 25, 16)
    places_Q2 = places(25)
    theirs_BQC, _ = theirs(
        hidden_states=value,
        encoder_hidden_states=value,
        reference_points=places_Q2[None, :, None].expand(2, -1, len(SIZES), -1),
        spatial_shapes_list=SIZES,
    )
    torch.testing.assert_close(ours(value, places_Q2, value, SIZES), theirs_BQC, atol=1e-5, rtol=1e-5)


def test_a_fresh_module_looks_around_itself():
    module = DeformableAttention(16, 4, 3, 2)
    offsets = module.sampling_offsets(torch.randn(16)).view(4, 3, 2, 2)
    right, down, left, up = offsets[:, 0]
    torch.testing.assert_close(right, torch.tensor([[1.0, 0.0], [2.0, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(down, torch.tensor([[0.0, 1.0], [0.0, 2.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.stack((left, up)), -torch.stack((right, down)), atol=1e-6, rtol=0)


def test_autocast_keeps_places_exact():
    module = DeformableAttention(16, 2, 1, 1)
    value = torch.randn(1, 400, 16)
    places_Q2 = torch.stack(((torch.arange(400) + 0.5) / 400, torch.full((400,), 0.5)), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(value, places_Q2, value, [(1, 400)])
    exact = module(value, places_Q2, value, [(1, 400)])
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


@pytest.mark.slow
def test_it_compiles():
    compiled = torch.compile(deformable_attention, fullgraph=True)
    for ours, theirs in zip(gradients(compiled, *inputs()), gradients(deformable_attention, *inputs()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

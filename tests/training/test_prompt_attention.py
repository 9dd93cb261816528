"""Deformable attention as prompts use it: from boxes, over four levels, the values made once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.reference.deform_attn import deformable_attention, points_in_boxes
from training.models.attention import SelfAttention
from training.models.deform_attn import DeformableAttention

SIZES = [(1, 2), (2, 3), (3, 5), (6, 9)]
CELLS = sum(h * w for h, w in SIZES)
WIDTH, HEADS, POINTS, QUERIES = 16, 2, 3, 5


@pytest.fixture
def inputs():
    """A module without zeros, queries, boxes (some of which reach out of the image) and what is looked at."""
    torch.manual_seed(0)
    module = DeformableAttention(WIDTH, HEADS, len(SIZES), POINTS)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module, torch.randn(2, QUERIES, WIDTH), torch.rand(2, QUERIES, 4), torch.randn(2, CELLS, WIDTH)


def test_boxes_over_four_levels_equal_the_loops(inputs):
    module, query_BQC, boxes_BQ4, cells_BSC = inputs
    shape = (2, QUERIES, HEADS, len(SIZES), POINTS)
    points = points_in_boxes(boxes_BQ4, module.sampling_offsets(query_BQC).view(*shape, 2))
    weights = module.attention_weights(query_BQC).view(2, QUERIES, HEADS, -1).softmax(dim=-1).view(shape)
    values = module.value_proj(cells_BSC).view(2, CELLS, HEADS, -1)
    expected = module.output_proj(deformable_attention(values, SIZES, points, weights))
    found = module.look(query_BQC, boxes_BQ4, module.values(cells_BSC, SIZES))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_boxes_equal_those_of_transformers(inputs):
    modeling = pytest.importorskip("transformers.models.deformable_detr.modeling_deformable_detr")
    transformers = pytest.importorskip("transformers")
    module, query_BQC, boxes_BQ4, cells_BSC = inputs
    config = transformers.DeformableDetrConfig(
        d_model=WIDTH, num_feature_levels=len(SIZES), disable_custom_kernels=True
    )
    theirs = modeling.DeformableDetrMultiscaleDeformableAttention(config, num_heads=HEADS, n_points=POINTS)
    theirs.load_state_dict(module.state_dict())
    expected, _ = theirs(
        hidden_states=query_BQC,
        encoder_hidden_states=cells_BSC,
        reference_points=boxes_BQ4[:, :, None].expand(-1, -1, len(SIZES), -1),
        spatial_shapes=torch.tensor(SIZES),
        spatial_shapes_list=SIZES,
        level_start_index=torch.tensor([0, 2, 8, 23]),
    )
    found = module.look(query_BQC, boxes_BQ4, module.values(cells_BSC, SIZES))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_values_made_once_serve_many_looks(inputs):
    module, query_BQC, boxes_BQ4, cells_BSC = inputs
    values = module.values(cells_BSC, SIZES)
    parts = [module.look(query_BQC[:, part], boxes_BQ4[:, part], values) for part in (slice(2), slice(2, None))]
    torch.testing.assert_close(torch.cat(parts, dim=1), module.look(query_BQC, boxes_BQ4, values))
    places_Q2 = boxes_BQ4[0, :, :2]
    torch.testing.assert_close(
        module(query_BQC, places_Q2, cells_BSC, SIZES), module.look(query_BQC, places_Q2, values)
    )


def test_a_fresh_module_looks_around_within_the_box():
    """The last point of a head that looks to the right lies on the right edge, whatever the level's size."""
    module = DeformableAttention(4, 1, 1, 2)
    with torch.no_grad():
        module.attention_weights.bias.copy_(torch.tensor([0.0, 100.0]))  # only the last point counts
    for projection in (module.value_proj, module.output_proj):
        nn.init.eye_(projection.weight)
    ramp_BSC = ((torch.arange(40) + 0.5) / 40)[None, :, None].expand(1, 40, 4)
    box_BQ4 = torch.tensor([[[0.5, 0.5, 0.3, 0.0]]])
    seen = module.look(torch.zeros(1, 1, 4), box_BQ4, module.values(ramp_BSC, [(1, 40)]))
    torch.testing.assert_close(seen, torch.full((1, 1, 4), 0.65), atol=1e-5, rtol=0)


def test_self_attention_equals_torchs():
    torch.manual_seed(0)
    ours, theirs = SelfAttention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([projection.weight for projection in projections]))
        theirs.out_proj.weight.copy_(ours.out_proj.weight)
    queries_BQC, places_BQC = torch.randn(3, 6, 16), torch.randn(3, 6, 16)
    placed_BQC = queries_BQC + places_BQC
    expected, _ = theirs(placed_BQC, placed_BQC, queries_BQC)
    torch.testing.assert_close(ours(placed_BQC, queries_BQC), expected, atol=1e-6, rtol=1e-5)

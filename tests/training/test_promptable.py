from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dico.config_loading import from_mapping
from tests.training.asked import SMALL, clicks, mixed, small_model
from tests.training.mask2former import shaken
from training.config import ModelConfig, PromptableConfig
from training.models.pixel_decoder import PixelDecoder
from training.models.promptable import PromptableModel
from training.models.whole_image import WholeImageModel
from training.prompts import BOX, NEGATIVE, PADDING, POSITIVE, Prompts


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def features(model):
    with torch.no_grad():
        return model.embed(pictures(2))


def pictures(count, size_hw=(64, 96)):
    return torch.randint(0, 256, (count, 3, *size_hw), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


def predictions(output):
    return output.embeddings_LBPQC, output.ious_LBPQ, output.boxes_LBPQ4


def assert_close(found, expected, atol=1e-5):
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=atol, rtol=0)


@torch.no_grad()
def test_shapes_and_dtypes(model, features):
    output = model.decode(features, mixed(5, images=2), every_layer=True)
    assert [tuple(t.shape) for t in predictions(output)] == [(3, 2, 5, 6, 32), (3, 2, 5, 6), (3, 2, 5, 6, 4)]
    assert output.features_BChw.shape == (2, 32, 16, 24)
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in predictions(output))
    assert ((output.boxes_LBPQ4 > 0) & (output.boxes_LBPQ4 < 1)).all()
    masks_PQhw = output.mask_logits(1, slice(2, 4))
    expected = torch.einsum("pqc,chw->pqhw", output.embeddings_LBPQC[-1, 1, 2:4], output.features_BChw[1])
    torch.testing.assert_close(masks_PQhw, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_prompt_does_not_depend_on_the_others(model, features):
    asked = mixed(9, images=2)
    together = predictions(model.decode(features, asked))
    others = mixed(9, images=2, seed=1)
    for index in (0, 4, 8):
        for company in (None, others):
            tensors = []
            for mine, other in zip(asked._tensors(), others._tensors(), strict=True):
                changed = mine[:, index : index + 1] if company is None else other.clone()
                if company is not None:
                    changed[:, index] = mine[:, index]
                tensors.append(changed)
            place = 0 if company is None else index
            found = predictions(model.decode(features, Prompts(*tensors)))
            assert_close([t[:, :, place] for t in found], [t[:, :, index] for t in together])


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 4, 11])
def test_chunks_give_the_same(model, features, size):
    asked = mixed(11, images=2)
    parts = [predictions(model.decode(features, part)) for part in asked.chunks(size)]
    assert_close(
        [torch.cat(part, dim=2) for part in zip(*parts, strict=True)], predictions(model.decode(features, asked))
    )


@torch.no_grad()
def test_images_of_a_batch_do_not_see_one_another(model):
    images, asked = pictures(2), mixed(3, images=2)
    both = model(images, asked)
    for index in (0, 1):
        part = Prompts(*(tensor[index : index + 1] for tensor in asked._tensors()))
        alone = model(images[index : index + 1], part)
        assert_close([t[:, 0] for t in predictions(alone)], [t[:, index] for t in predictions(both)])


@torch.no_grad()
def test_an_image_embedded_once_answers_as_one_seen_anew(model):
    images, asked = pictures(2), mixed(3, images=2)
    sizes_hw = [(64, 96), (40, 50)]
    embedded = model.embed(images, sizes_hw)
    assert_close(predictions(model.decode(embedded, asked)), predictions(model(images, asked, sizes_hw=sizes_hw)), 0)
    padded = images.clone()
    padded[1, :, 40:], padded[1, :, :, 50:] = 255, 255
    assert_close(predictions(model(padded, asked, sizes_hw=sizes_hw)), predictions(model.decode(embedded, asked)), 0)


@torch.no_grad()
def test_prompts_may_be_made_of_answers_to_others(model, monkeypatch):
    """The image is seen once for all of them."""
    images, first, second = pictures(1), clicks(2), mixed(3)
    seen, embedded = [], Mock(wraps=model.embed)
    monkeypatch.setattr(model, "embed", embedded)

    def ask(answer):
        seen.append(answer(first))
        return second

    output = model(images, ask, deep_supervision=True)
    assert embedded.call_count == 1
    assert_close(predictions(seen[0]), predictions(model(images, first)), 0)
    assert_close(predictions(output), predictions(model(images, second, deep_supervision=True)), 0)


@torch.no_grad()
def test_points_are_a_set(model, features):
    asked = mixed(5, images=2, points=4)
    expected = predictions(model.decode(features, asked))
    order = [2, 0, 3, 1]
    shuffled = replace(asked, points_BPK2=asked.points_BPK2[:, :, order], labels_BPK=asked.labels_BPK[:, :, order])
    assert_close(predictions(model.decode(features, shuffled)), expected)


@torch.no_grad()
def test_what_is_padding_does_not_matter(model, features):
    asked = mixed(5, images=2, points=4)
    expected = predictions(model.decode(features, asked))
    elsewhere = torch.where((asked.labels_BPK == PADDING)[..., None], 0.123, asked.points_BPK2)
    assert not torch.equal(elsewhere, asked.points_BPK2)
    assert_close(predictions(model.decode(features, replace(asked, points_BPK2=elsewhere))), expected)
    longer = replace(
        asked,
        points_BPK2=nn.functional.pad(asked.points_BPK2, (0, 0, 0, 3), value=0.9),
        labels_BPK=nn.functional.pad(asked.labels_BPK, (0, 3), value=PADDING),
    )
    assert_close(predictions(model.decode(features, longer)), expected)
    # No places for points at all are the same as none that holds one.
    none = replace(asked, labels_BPK=torch.full_like(asked.labels_BPK, PADDING))
    without = replace(asked, points_BPK2=asked.points_BPK2[:, :, :0], labels_BPK=asked.labels_BPK[:, :, :0])
    assert_close(predictions(model.decode(features, without)), predictions(model.decode(features, none)))


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        lambda p: with_point(p, (0.8, 0.2), NEGATIVE),
        lambda p: with_point(p, (0.8, 0.2), POSITIVE),
        lambda p: replace(p, kind_BP=torch.full_like(p.kind_BP, BOX)),
        lambda p: replace(p, boxes_BP4=p.boxes_BP4 * 0.9),
    ],
    ids=["a negative click", "a second positive click", "another kind", "another anchor"],
)
def test_all_that_is_asked_counts(model, features, change):
    asked = clicks(3, images=2)
    before, after = (predictions(model.decode(features, p)) for p in (asked, change(asked)))
    assert all((mine - other).abs().max() > 1e-4 for mine, other in zip(after, before, strict=True))


@torch.no_grad()
def test_the_label_of_a_point_counts(model, features):
    asked = clicks(3, images=2)
    labelled = [with_point(asked, (0.8, 0.2), label) for label in (POSITIVE, NEGATIVE)]
    positive, negative = (predictions(model.decode(features, prompts)) for prompts in labelled)
    assert all((mine - other).abs().max() > 1e-4 for mine, other in zip(positive, negative, strict=True))


def with_point(prompts, xy, label):
    """The same with one more point."""
    shape = (*prompts.kind_BP.shape, 1)
    return replace(
        prompts,
        points_BPK2=torch.cat((prompts.points_BPK2, torch.tensor(xy).expand(*shape, 2)), dim=2),
        labels_BPK=torch.cat((prompts.labels_BPK, torch.full(shape, label)), dim=2),
    )


@torch.no_grad()
def test_a_fresh_model_answers_by_anchor_and_kind_alone():
    """So weights that know of no further points answer as they did, and its boxes are the anchors."""
    torch.manual_seed(0)
    model = PromptableModel(SMALL).eval()
    features, asked = model.embed(pictures(1)), clicks(4)
    expected = model.decode(features, asked, every_layer=True)
    more = model.decode(features, with_point(asked, (0.8, 0.2), NEGATIVE), every_layer=True)
    assert_close(predictions(more), predictions(expected), 0)
    anchors = asked.boxes_BP4[None, :, :, None].expand_as(expected.boxes_LBPQ4)
    torch.testing.assert_close(expected.boxes_LBPQ4, anchors, atol=1e-4, rtol=0)


@torch.no_grad()
def test_boxes_on_the_edge_of_the_image_stay_finite(model, features):
    asked = replace(clicks(1, images=2), boxes_BP4=torch.tensor([[[0.0, 1.0, 0.0, 1.0]]]).expand(2, -1, -1))
    assert all(t.isfinite().all() for t in predictions(model.decode(features, asked)))


@torch.no_grad()
def test_without_deep_supervision_only_the_last_layer_comes(model, features):
    asked = mixed(3, images=2)
    alone, deep = model.decode(features, asked), model.decode(features, asked, every_layer=True)
    assert len(alone.ious_LBPQ) == 1 and len(deep.ious_LBPQ) == SMALL.decoder_layers
    assert_close(predictions(alone), [t[-1:] for t in predictions(deep)], 0)
    assert deep.boxes_LBPQ4[0].ne(deep.boxes_LBPQ4[1]).any()


@torch.no_grad()
def test_queries_of_different_prompts_never_meet(model):
    """Nothing has two axes of all queries; and full masks are not made."""
    features = model.embed(pictures(1, (128, 128)))
    queries, stride_4, shapes = 37 * 6, 32 * 32, []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            result = function(*arguments, **(keywords or {}))
            if isinstance(result, torch.Tensor):
                shapes.append(tuple(result.shape))
            return result

    with Recorder():
        output = model.decode(features, clicks(37))
        assert any(queries in shape for shape in shapes)
        assert not [shape for shape in shapes if shape.count(queries) > 1 or shape.count(37) > 1]
        assert not [shape for shape in shapes if stride_4 in shape and (37 in shape or queries in shape)]
        output.mask_logits(0)
        assert (37, 6, stride_4) in shapes


@pytest.mark.parametrize("asked", [mixed(4, images=2), clicks(4, images=2)], ids=["mixed", "clicks alone"])
def test_gradients_reach_every_weight(asked):
    """What is not used must still take part: several processes wait for the gradients of every weight."""
    model = small_model().train()
    output = model(pictures(2), asked, deep_supervision=True)
    losses = [t.square().mean() for t in predictions(output)]
    (sum(losses) + output.mask_logits(0).square().mean() + output.mask_logits(1).square().mean()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    # Key biases change all scores of a query alike, which the softmax takes away.
    still = [n for n, p in model.named_parameters() if not p.grad.any() and "k_proj.bias" not in n]
    assert still == []


def test_gradients_of_unused_parts_are_zeros_and_not_missing():
    model = small_model().train()
    asked = clicks(4, images=2)
    boxes = replace(asked, kind_BP=torch.full((2, 4), BOX), points_BPK2=asked.points_BPK2[:, :, :0],
                    labels_BPK=asked.labels_BPK[:, :, :0])  # fmt: skip
    output = model(pictures(2), boxes, deep_supervision=True)
    sum(t.square().mean() for t in (*predictions(output), output.mask_logits(0))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not model.prompt_encoder.labels.weight.grad.any() and model.prompt_encoder.kinds.weight.grad[BOX].any()


def test_no_gradient_goes_through_the_boxes_of_the_layers_before():
    model = small_model().train()
    output = model(pictures(1), clicks(2), deep_supervision=True)
    last_bias = model.prompt_decoder.box_refiner[-1][0].bias
    for boxes_BPQ4 in output.boxes_LBPQ4:
        (gradient,) = torch.autograd.grad(boxes_BPQ4.sum(), last_bias, retain_graph=True)
        # The shared bias moves the logits of these boxes, and not where those of the layers before were.
        torch.testing.assert_close(gradient, (boxes_BPQ4 * (1 - boxes_BPQ4)).sum(dim=(0, 1, 2)))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    model = small_model().to(dtype)
    output = model(pictures(1), mixed(3))
    assert output.mask_logits(0).dtype == output.ious_LBPQ.dtype == dtype and output.boxes_LBPQ4.dtype == torch.float32
    assert all(t.isfinite().all() for t in predictions(output))


def test_autocast_trains():
    model = small_model().train()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(pictures(1), mixed(3), deep_supervision=True)
    sum(t.float().square().mean() for t in (*predictions(output), output.mask_logits(0))).backward()
    assert output.boxes_LBPQ4.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_no_prompts_give_no_answers(model, features):
    output = model.decode(features, clicks(0, images=2))
    assert output.ious_LBPQ.shape == (1, 2, 0, 6) and output.mask_logits(0).shape == (0, 6, 16, 24)


def test_prompts_of_other_images_are_refused(model, features):
    with pytest.raises(ValueError, match="prompts must be of 2 images, as the features are, got 1"):
        model.decode(features, clicks(3))


@torch.no_grad()
@pytest.mark.parametrize(("size_hw", "coarsest"), [((64, 96), (1, 2)), ((90, 250), (2, 4))])
def test_the_fourth_level_has_half_the_cells_of_the_third(model, size_hw, coarsest):
    pixels = model.model["pixel_level_module"](torch.randn(1, 3, *size_hw))
    assert len(pixels.levels_BSC) == 4 and pixels.sizes_hw[0] == coarsest
    assert [level.shape[1] for level in pixels.levels_BSC] == [h * w for h, w in pixels.sizes_hw]
    threefold = PixelDecoder(SMALL, (8, 16, 16, 24))
    assert {n for n, _ in model.model["pixel_level_module"].decoder.named_parameters()} - {
        n for n, _ in threefold.named_parameters()
    } == {f"input_projections.3.{part}" for part in ("0.weight", "0.bias", "1.weight", "1.bias")}


def test_pixels_are_named_as_in_the_whole_image_model(model):
    """What reads the backbones of one reads those of the other."""
    prefix = "model.pixel_level_module.encoder."
    whole_image = WholeImageModel(ModelConfig(backbone="tiny", tiny=SMALL.tiny, width=32, heads=4))
    mine, theirs = ({n for n in m.state_dict() if n.startswith(prefix)} for m in (model, whole_image))
    assert mine == theirs and mine


def test_published_widths():
    """Swin-T's numbers of parameters; 0.39 million of them are for points, which published weights do not know."""
    with torch.device("meta"):
        model = PromptableModel(PromptableConfig())
    millions = {name: sum(p.numel() for p in m.parameters()) / 1e6 for name, m in model.named_children()}
    assert millions["model"] == pytest.approx(34.9, abs=0.1)
    assert millions["prompt_decoder"] == pytest.approx(14.6, abs=0.1)
    assert millions["prompt_encoder"] == pytest.approx(0.40, abs=0.01)


@pytest.mark.slow
def test_it_compiles():
    model, asked = shaken(PromptableModel(replace(SMALL, decoder_layers=1))).eval(), mixed(3)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found, expected = torch.compile(model)(images, asked), model(images, asked)
    assert_close(predictions(found), predictions(expected), 1e-4)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"width": 100}, "promptable.width must be a multiple of 32, the groups of its norms, got 100"),
        ({"backbone": "resnet51"}, "promptable.backbone must be one of resnet50, swin_t, tiny, got 'resnet51'"),
        ({"masks_per_prompt": 0}, "promptable.masks_per_prompt must be at least 1, got 0"),
        ({"decoder_layers": 0}, "promptable.decoder_layers must be at least 1, got 0"),
    ],
)
def test_configurations_that_cannot_be_are_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        from_mapping(PromptableConfig, values, prefix="promptable.")

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from dico.config_loading import from_mapping
from tests.reference.dense import dense_masks
from tests.training.mask2former import SMALL_CONFIGS, oracle, saved, shaken
from training.config import ModelConfig, TinyConfig
from training.models.mask_decoder import MaskDecoder, allowed_cells
from training.models.pixel_decoder import PixelFeatures
from training.models.whole_image import WholeImageModel, one_class

TINY = ModelConfig(
    backbone="tiny",
    tiny=TinyConfig(widths=(8, 16, 16, 24)),
    queries=5,
    width=32,
    heads=4,
    encoder_layers=1,
    encoder_feedforward=48,
    decoder_layers=3,
    decoder_feedforward=48,
)
NOT_OURS = ("criterion.", "model.pixel_level_module.encoder.swin.layernorm.")
"""The criterion's class weights, and a norm that Swin's backbone has no use for."""


def of_same_weights(config, folder):
    """transformers' model and ours; ours by the names that the file has."""
    theirs = oracle(config)
    state = load_file(saved(theirs, folder) / "model.safetensors")
    ours = WholeImageModel(config).eval()
    ours.load_state_dict({name: value for name, value in state.items() if not name.startswith(NOT_OURS)})
    return theirs, ours


def assert_equal_predictions(theirs, ours, images, atol):
    with torch.no_grad():
        other = theirs(pixel_values=images, output_auxiliary_logits=True)
        mine = ours(images, deep_supervision=True)
    layers = [*other.auxiliary_logits, other]
    for kind, of_layers in (
        ("class_queries_logits", mine.class_logits_LBQ2),
        ("masks_queries_logits", dense_masks(mine)),
    ):
        for layer, found in zip(layers, of_layers, strict=True):
            expected = layer[kind]
            assert expected.std() > 0.01
            torch.testing.assert_close(found, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("name", SMALL_CONFIGS)
@pytest.mark.parametrize("size_hw", [(96, 128), (90, 125)])
def test_equals_transformers_on_the_same_weights_by_name(name, size_hw, tmp_path):
    theirs, ours = of_same_weights(SMALL_CONFIGS[name], tmp_path)
    assert_equal_predictions(theirs, ours, torch.randn(2, 3, *size_hw), 1e-4)


@pytest.mark.parametrize("backbone", ["resnet50", "swin_t"])
def test_equals_transformers_at_published_widths(backbone, tmp_path):
    theirs, ours = of_same_weights(ModelConfig(backbone=backbone, queries=20), tmp_path)
    # Shaken weights of a deep network give large logits, so the tolerance goes with them.
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        scale = theirs(pixel_values=images).masks_queries_logits.abs().max().item()
    assert_equal_predictions(theirs, ours, images, 1e-4 * max(1.0, scale))


def test_gradients_equal_those_of_transformers(tmp_path):
    theirs, ours = of_same_weights(SMALL_CONFIGS["swin"], tmp_path)
    images = torch.randn(1, 3, 64, 96)
    other, mine = theirs(pixel_values=images), ours(images)
    for masks_BQhw in (other.masks_queries_logits, *dense_masks(mine)):
        masks_BQhw.square().mean().backward()
    expected = {name: p.grad for name, p in theirs.named_parameters() if "transformer_module" in name}
    found = {name: p.grad for name, p in ours.named_parameters() if "transformer_module" in name}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3)


def test_without_deep_supervision_only_the_last_layer_comes():
    model = WholeImageModel(TINY).eval()
    images = torch.randn(2, 3, 64, 96)
    alone, deep = model(images), model(images, deep_supervision=True)
    assert len(alone.class_logits_LBQ2) == 1 and len(deep.class_logits_LBQ2) == TINY.decoder_layers + 1
    assert torch.equal(alone.features_BChw, deep.features_BChw)
    torch.testing.assert_close(alone.embeddings_LBQC, deep.embeddings_LBQC[-1:])
    torch.testing.assert_close(alone.class_logits_LBQ2, deep.class_logits_LBQ2[-1:])
    assert alone.features_BChw.shape == (2, 32, 16, 24) and alone.class_logits_LBQ2.shape == (1, 2, 5, 2)


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_full_masks_are_not_made(deep_supervision):
    """Where queries meet cells, there are at most those of stride 8."""
    model = WholeImageModel(replace(TINY, queries=51, heads=2)).eval()
    cells = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            result = function(*arguments, **(keywords or {}))
            if isinstance(result, torch.Tensor) and 51 in result.shape:
                cells.append(result.numel() // 51)
            return result

    with torch.no_grad(), Recorder():
        output = model(torch.randn(1, 3, 256, 384), deep_supervision=deep_supervision)
        stride_4, stride_8 = 64 * 96, 32 * 48
        assert stride_8 in cells and max(cells) <= 2 * stride_8
        dense_masks(output)
        assert stride_4 in cells


def test_a_query_with_an_empty_mask_attends_everywhere():
    torch.manual_seed(0)
    decoder = MaskDecoder(TINY).eval()
    features = PixelFeatures(
        torch.zeros(1, 32, 8, 8), tuple(torch.randn(1, s * s, 32) for s in (1, 2, 4)), ((1, 1), (2, 2), (4, 4))
    )
    embedding, cells = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[-1.0, -2.0, -3.0], [5.0, -1.0, 0.0]]])
    assert allowed_cells(embedding, cells).tolist() == [[[True, True, True], [True, False, True]]]
    # Masks of zeros are nowhere empty; below zero everywhere they are, and what is seen is the same.
    full = decoder(features, every_layer=False).normed_LBQC
    nothing = replace(features, mask_features_BChw=torch.full((1, 32, 8, 8), -1.0))
    for parameter in decoder.decoder.mask_predictor.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    assert (decoder(nothing, every_layer=True).embeddings_LBQC > 0).all()
    assert full.isfinite().all()
    torch.testing.assert_close(decoder(nothing, every_layer=False).normed_LBQC, full)


def test_every_weight_that_should_learn_does():
    torch.manual_seed(0)
    model = shaken(WholeImageModel(TINY))  # a fresh one looks in the same directions from everywhere
    output = model(torch.randn(2, 3, 64, 96), deep_supervision=True)
    sum(logits.square().mean() for logits in (*dense_masks(output), *output.class_logits_LBQ2)).backward()
    # Key biases change all scores of a query alike, which the softmax takes away.
    still = [n for n, p in model.named_parameters() if (p.grad is None or not p.grad.any()) and "k_proj.bias" not in n]
    assert still == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    model = WholeImageModel(TINY).eval().to(dtype)
    output = model(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert output.features_BChw.dtype == output.embeddings_LBQC.dtype == output.class_logits_LBQ2.dtype == dtype
    assert dense_masks(output)[-1].isfinite().all()


def test_autocast_trains():
    model = WholeImageModel(TINY)
    with torch.autocast("cpu", torch.bfloat16):
        *_, masks_BQhw = dense_masks(model(torch.randn(1, 3, 64, 64), deep_supervision=True))
    masks_BQhw.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_bytes_are_normalised_and_padding_becomes_zeros():
    model = WholeImageModel(TINY).eval()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    normal = model.normalise(images, [(64, 96), (40, 50)])
    expected = (images[0, 1, 3, 4].float() - 116.28) / 57.12
    torch.testing.assert_close(normal[0, 1, 3, 4], expected)
    assert not normal[1, :, 40:].any() and not normal[1, :, :, 50:].any() and normal[1, :, :40, :50].all()
    from_bytes = model(images, sizes_hw=[(64, 96), (40, 50)])
    assert torch.equal(from_bytes.features_BChw, model(normal).features_BChw)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        model.normalise(images, [(64, 96)])


def test_several_classes_are_taken_together():
    logits = torch.randn(2, 3, 6)
    together = one_class(logits).softmax(dim=-1)
    torch.testing.assert_close(together[..., 0], logits.softmax(dim=-1)[..., :-1].sum(dim=-1))
    output = WholeImageModel(replace(TINY, classes=5))(torch.randn(1, 3, 64, 64), deep_supervision=True)
    assert output.class_logits_LBQ2.shape == (4, 1, 5, 2)


@pytest.mark.slow
def test_it_compiles():
    model = WholeImageModel(replace(TINY, decoder_layers=1)).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found, expected = (dense_masks(output)[-1] for output in (torch.compile(model)(images), model(images)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"width": 100}, "model.width must be a multiple of 32, the groups of its norms, got 100"),
        ({"width": 96, "heads": 7}, "model.heads must be a divisor of model.width=96, got 7"),
        ({"backbone": "resnet51"}, "model.backbone must be one of resnet50, swin_t, tiny, got 'resnet51'"),
        ({"queries": 0}, "model.queries must be at least 1, got 0"),
        ({"decoder_layers": -1}, "model.decoder_layers must be at least 0, got -1"),
        ({"pixel_std": [1.0, 0.0, 1.0]}, "model.pixel_std must be above 0"),
    ],
)
def test_configurations_that_cannot_be_are_refused(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        from_mapping(ModelConfig, values, prefix="model.")

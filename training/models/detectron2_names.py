"""Names of Mask2Former's weights in detectron2's format, and the same weights' names in ours.

Ours are those of Hugging Face's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from training.models.name_map import NameMap

PIXEL_HEAD = "sem_seg_head.pixel_decoder"
"""Their pixel decoder; ours is :data:`PIXELS`."""
PIXELS = "model.pixel_level_module.decoder"
ENCODER = "model.pixel_level_module.encoder"
_MASKS = "model.transformer_module"
QKV = ("q_proj", "k_proj", "v_proj")


def from_detectron2(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under our names, and the names for which we have none.

    Args:
        state: Tensors under detectron2's names: ``sem_seg_head.``... and ``backbone.``...

    Returns:
        Renamed tensors, fused ones split; and the names that no rule knows, sorted.

    Example:
        >>> import torch
        >>> from_detectron2({"backbone.res2.1.conv3.norm.bias": torch.zeros(4), "head": torch.zeros(1)})
        ({'model.pixel_level_module.encoder.encoder.stages.0.layers.1.layer.2.normalization.bias': \
tensor([0., 0., 0., 0.])}, ['head'])
    """
    return _NAMES.to_ours(state)


def to_detectron2(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under detectron2's names, and our names for which it has none; the way back of :func:`from_detectron2`.

    Args:
        state: Tensors under our names.

    Returns:
        Renamed tensors, fused again; and the names that no rule knows or whose partners are missing, sorted.
    """
    return _NAMES.to_theirs(state)


def _modules() -> Iterator[tuple[str, str]]:
    yield from pixel_modules()
    yield f"{PIXEL_HEAD}.input_proj.*.*", f"{PIXELS}.input_projections.*.*"
    yield from _mask_decoder()


def _parameters() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield from pixel_parameters()
    head, layer = "sem_seg_head.predictor", f"{_MASKS}.decoder.layers.*"
    for kind in ("weight", "bias"):
        theirs = f"{head}.transformer_self_attention_layers.*.self_attn.in_proj_{kind}"
        yield theirs, tuple(f"{layer}.self_attn.{part}.{kind}" for part in QKV)
        theirs = f"{head}.transformer_cross_attention_layers.*.multihead_attn.in_proj_{kind}"
        yield theirs, (f"{layer}.cross_attn.in_proj_{kind}",)


def pixel_modules() -> Iterator[tuple[str, str]]:
    """Rules of the backbones and of the pixel decoder, but for its projections of the backbone's maps."""
    yield from _resnet()
    yield from _swin()
    yield from _pixel_decoder()


def pixel_parameters() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Rules of single parameters of the same."""
    block, ours = "backbone.layers.*.blocks.*.attn", f"{ENCODER}.encoder.layers.*.blocks.*.attention.self"
    yield f"{block}.relative_position_bias_table", (f"{ours}.relative_position_bias_table",)
    yield f"{PIXEL_HEAD}.transformer.level_embed", (f"{PIXELS}.level_embed",)
    for kind in ("weight", "bias"):
        yield f"{block}.qkv.{kind}", tuple(f"{ours}.{part}.{kind}" for part in ("query", "key", "value"))


def _resnet() -> Iterator[tuple[str, str]]:
    pairs = {"backbone.stem.conv1": f"{ENCODER}.embedder.embedder"}
    for stage in range(4):
        theirs, ours = f"backbone.res{stage + 2}.*", f"{ENCODER}.encoder.stages.{stage}.layers.*"
        pairs |= {f"{theirs}.conv{i + 1}": f"{ours}.layer.{i}" for i in range(3)}
        pairs[f"{theirs}.shortcut"] = f"{ours}.shortcut"
    for theirs, ours in pairs.items():
        yield theirs, f"{ours}.convolution"
        yield f"{theirs}.norm", f"{ours}.normalization"


def _swin() -> Iterator[tuple[str, str]]:
    yield "backbone.patch_embed.proj", f"{ENCODER}.embeddings.patch_embeddings.projection"
    yield "backbone.patch_embed.norm", f"{ENCODER}.embeddings.norm"
    theirs, ours = "backbone.layers.*.blocks.*", f"{ENCODER}.encoder.layers.*.blocks.*"
    yield f"{theirs}.norm1", f"{ours}.layernorm_before"
    yield f"{theirs}.norm2", f"{ours}.layernorm_after"
    yield f"{theirs}.attn.proj", f"{ours}.attention.output.dense"
    yield f"{theirs}.mlp.fc1", f"{ours}.intermediate.dense"
    yield f"{theirs}.mlp.fc2", f"{ours}.output.dense"
    for part in ("norm", "reduction"):
        yield f"backbone.layers.*.downsample.{part}", f"{ENCODER}.encoder.layers.*.downsample.{part}"
    for stage in range(4):
        yield f"backbone.norm{stage}", f"{ENCODER}.hidden_states_norms.stage{stage + 1}"


def _pixel_decoder() -> Iterator[tuple[str, str]]:
    yield f"{PIXEL_HEAD}.mask_features", f"{PIXELS}.mask_projection"
    for part in ("adapter_1", "layer_1"):
        yield f"{PIXEL_HEAD}.{part}", f"{PIXELS}.{part}.0"
        yield f"{PIXEL_HEAD}.{part}.norm", f"{PIXELS}.{part}.1"
    theirs, ours = f"{PIXEL_HEAD}.transformer.encoder.layers.*", f"{PIXELS}.encoder.layers.*"
    for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
        yield f"{theirs}.self_attn.{part}", f"{ours}.self_attn.{part}"
    names = {"norm1": "self_attn_layer_norm", "linear1": "fc1", "linear2": "fc2", "norm2": "final_layer_norm"}
    for their_part, our_part in names.items():
        yield f"{theirs}.{their_part}", f"{ours}.{our_part}"


def _mask_decoder() -> Iterator[tuple[str, str]]:
    head = "sem_seg_head.predictor"
    yield f"{head}.class_embed", "class_predictor"
    yield f"{head}.mask_embed.layers.*", f"{_MASKS}.decoder.mask_predictor.mask_embedder.*.0"
    yield f"{head}.decoder_norm", f"{_MASKS}.decoder.layernorm"
    yield f"{head}.query_feat", f"{_MASKS}.queries_features"
    yield f"{head}.query_embed", f"{_MASKS}.queries_embedder"
    yield f"{head}.level_embed", f"{_MASKS}.level_embed"
    layer = f"{_MASKS}.decoder.layers.*"
    names = {
        "transformer_cross_attention_layers.*.multihead_attn.out_proj": "cross_attn.out_proj",
        "transformer_cross_attention_layers.*.norm": "cross_attn_layer_norm",
        "transformer_self_attention_layers.*.self_attn.out_proj": "self_attn.out_proj",
        "transformer_self_attention_layers.*.norm": "self_attn_layer_norm",
        "transformer_ffn_layers.*.linear1": "fc1",
        "transformer_ffn_layers.*.linear2": "fc2",
        "transformer_ffn_layers.*.norm": "final_layer_norm",
    }
    for theirs, ours in names.items():
        yield f"{head}.{theirs}", f"{layer}.{ours}"


_NAMES = NameMap(_modules(), _parameters())

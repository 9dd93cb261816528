"""Names of Mask2Former's weights in detectron2's format, and the same weights' names in ours.

Ours are those of Hugging Face's files. A rule names a module or a parameter on both sides; ``*`` stands for the number
of a layer. Where one tensor of theirs is several of ours (query, key and value), it is split into equal parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ENCODER = "model.pixel_level_module.encoder"
_PIXELS = "model.pixel_level_module.decoder"
_MASKS = "model.transformer_module"
_QKV = ("q_proj", "k_proj", "v_proj")
_OF_MODULE = r"(\.(?:weight|bias|running_mean|running_var))"


@dataclass(frozen=True)
class _Rule:
    theirs: re.Pattern[str]
    their_name: str
    ours: re.Pattern[str]
    our_names: tuple[str, ...]


def from_detectron2(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under our names, and the names for which we have none.

    Args:
        state: Tensors under detectron2's names: ``sem_seg_head.``... and ``backbone.``...

    Returns:
        Renamed tensors, fused ones split; and the names that no rule knows, sorted.

    Example:
        >>> from_detectron2({"backbone.res2.1.conv3.norm.bias": torch.zeros(4), "head": torch.zeros(1)})
        ({'model.pixel_level_module.encoder.encoder.stages.0.layers.1.layer.2.normalization.bias': \
tensor([0., 0., 0., 0.])}, ['head'])
    """
    renamed: dict[str, Tensor] = {}
    strangers = []
    for name, value in state.items():
        for rule in _RULES:
            if match := rule.theirs.fullmatch(name):
                ours = [_fill(our_name, match.groups()) for our_name in rule.our_names]
                renamed.update(zip(ours, value.chunk(len(ours)), strict=True))
                break
        else:
            strangers.append(name)
    return renamed, sorted(strangers)


def to_detectron2(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under detectron2's names, and our names for which it has none; the way back of :func:`from_detectron2`.

    Args:
        state: Tensors under our names.

    Returns:
        Renamed tensors, fused again; and the names that no rule knows or whose partners are missing, sorted.
    """
    renamed, left = {}, set(state)
    for name in state:
        for rule in _RULES:
            if match := rule.ours.fullmatch(name):
                parts = [_fill(our_name, match.groups()) for our_name in rule.our_names]
                if left.issuperset(parts):
                    fused = torch.cat([state[part] for part in parts]) if len(parts) > 1 else state[name]
                    renamed[_fill(rule.their_name, match.groups())] = fused
                    left.difference_update(parts)
                break
    return renamed, sorted(left)


def _rules() -> Iterator[_Rule]:
    for theirs, ours in _modules():
        # A module has several parameters; whichever it has keeps its name.
        yield _rule(theirs, (ours,), _OF_MODULE)
    for theirs, targets in _parameters():
        yield _rule(theirs, targets, "")


def _rule(theirs: str, ours: tuple[str, ...], ending: str) -> _Rule:
    star = "*" if ending else ""
    return _Rule(_pattern(theirs, ending), theirs + star, _pattern(ours[0], ending), tuple(o + star for o in ours))


def _pattern(name: str, ending: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", r"(\d+)") + ending)


def _fill(name: str, found: Iterable[str]) -> str:
    for text in found:
        name = name.replace("*", text, 1)
    return name


def _modules() -> Iterator[tuple[str, str]]:
    yield from _resnet()
    yield from _swin()
    yield from _pixel_decoder()
    yield from _mask_decoder()


def _resnet() -> Iterator[tuple[str, str]]:
    pairs = {"backbone.stem.conv1": f"{_ENCODER}.embedder.embedder"}
    for stage in range(4):
        theirs, ours = f"backbone.res{stage + 2}.*", f"{_ENCODER}.encoder.stages.{stage}.layers.*"
        pairs |= {f"{theirs}.conv{i + 1}": f"{ours}.layer.{i}" for i in range(3)}
        pairs[f"{theirs}.shortcut"] = f"{ours}.shortcut"
    for theirs, ours in pairs.items():
        yield theirs, f"{ours}.convolution"
        yield f"{theirs}.norm", f"{ours}.normalization"


def _swin() -> Iterator[tuple[str, str]]:
    yield "backbone.patch_embed.proj", f"{_ENCODER}.embeddings.patch_embeddings.projection"
    yield "backbone.patch_embed.norm", f"{_ENCODER}.embeddings.norm"
    theirs, ours = "backbone.layers.*.blocks.*", f"{_ENCODER}.encoder.layers.*.blocks.*"
    yield f"{theirs}.norm1", f"{ours}.layernorm_before"
    yield f"{theirs}.norm2", f"{ours}.layernorm_after"
    yield f"{theirs}.attn.proj", f"{ours}.attention.output.dense"
    yield f"{theirs}.mlp.fc1", f"{ours}.intermediate.dense"
    yield f"{theirs}.mlp.fc2", f"{ours}.output.dense"
    for part in ("norm", "reduction"):
        yield f"backbone.layers.*.downsample.{part}", f"{_ENCODER}.encoder.layers.*.downsample.{part}"
    for stage in range(4):
        yield f"backbone.norm{stage}", f"{_ENCODER}.hidden_states_norms.stage{stage + 1}"


def _pixel_decoder() -> Iterator[tuple[str, str]]:
    head = "sem_seg_head.pixel_decoder"
    yield f"{head}.input_proj.*.*", f"{_PIXELS}.input_projections.*.*"
    yield f"{head}.mask_features", f"{_PIXELS}.mask_projection"
    for part in ("adapter_1", "layer_1"):
        yield f"{head}.{part}", f"{_PIXELS}.{part}.0"
        yield f"{head}.{part}.norm", f"{_PIXELS}.{part}.1"
    theirs, ours = f"{head}.transformer.encoder.layers.*", f"{_PIXELS}.encoder.layers.*"
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


def _parameters() -> Iterator[tuple[str, tuple[str, ...]]]:
    block, ours = "backbone.layers.*.blocks.*.attn", f"{_ENCODER}.encoder.layers.*.blocks.*.attention.self"
    yield f"{block}.relative_position_bias_table", (f"{ours}.relative_position_bias_table",)
    yield "sem_seg_head.pixel_decoder.transformer.level_embed", (f"{_PIXELS}.level_embed",)
    head, layer = "sem_seg_head.predictor", f"{_MASKS}.decoder.layers.*"
    for kind in ("weight", "bias"):
        yield f"{block}.qkv.{kind}", tuple(f"{ours}.{part}.{kind}" for part in ("query", "key", "value"))
        theirs = f"{head}.transformer_self_attention_layers.*.self_attn.in_proj_{kind}"
        yield theirs, tuple(f"{layer}.self_attn.{part}.{kind}" for part in _QKV)
        theirs = f"{head}.transformer_cross_attention_layers.*.multihead_attn.in_proj_{kind}"
        yield theirs, (f"{layer}.cross_attn.in_proj_{kind}",)


_RULES = tuple(_rules())

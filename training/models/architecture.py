"""The configuration of a model whose weights are at hand, from their names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from training.config import ModelConfig, ResNetConfig, SwinConfig, TinyConfig
from training.models.checkpoint_files import CheckpointError
from training.models.pixel_decoder import LEVELS

BACKBONE = "model.pixel_level_module.encoder."
"""What the names of a backbone's weights begin with."""
POINTS = 4
"""Points of deformable attention in every published model; shapes tell only points times heads."""
_PIXELS = "model.pixel_level_module.decoder."
_MASKS = "model.transformer_module."
_FIRST = {
    "resnet50": "embedder.embedder.convolution.weight",
    "swin_t": "embeddings.patch_embeddings.projection.weight",
    "tiny": "stem.convolution.weight",
}


def infer_backbone(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The part of the configuration that is about the backbone.

    Args:
        state: Tensors under our names.

    Returns:
        Values of fields of ModelConfig: ``backbone``, and the options of that one.

    Raises:
        CheckpointError: when no backbone that we know is there.
    """
    for name, first in _FIRST.items():
        if BACKBONE + first in state:
            options = {"resnet50": _resnet, "swin_t": _swin, "tiny": _tiny}[name](state)
            return {"backbone": name, **options}
    raise CheckpointError("the weights hold no backbone that is known: " + ", ".join(_FIRST))


def infer_config(state: Mapping[str, Tensor]) -> ModelConfig:
    """The configuration of a whole model.

    What leaves no trace in shapes has its default: whether norms are frozen, how often branches are left out.

    Args:
        state: Tensors under our names; whether all of them are there is for the loader to check.

    Returns:
        The configuration.

    Raises:
        CheckpointError: when the shapes are not those of such a model.
    """
    try:
        layers, decoder = f"{_PIXELS}encoder.layers.", f"{_MASKS}decoder.layers."
        queries, width = _shape(state, f"{_MASKS}queries_features.weight")
        values: dict[str, Any] = {
            "queries": queries,
            "width": width,
            "classes": _shape(state, "class_predictor.weight")[0] - 1,
            "encoder_layers": _count(state, layers),
            "decoder_layers": _count(state, decoder),
        }
        if values["encoder_layers"]:
            values["encoder_feedforward"] = _shape(state, f"{layers}0.fc1.weight")[0]
            samples = _shape(state, f"{layers}0.self_attn.attention_weights.weight")[0]
            values["encoder_points"] = POINTS
            values["heads"] = samples // (LEVELS * POINTS)
        if values["decoder_layers"]:
            values["decoder_feedforward"] = _shape(state, f"{decoder}0.fc1.weight")[0]
        return ModelConfig(**values, **infer_backbone(state))
    except CheckpointError:
        raise
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"the weights have shapes that no model of ours has: {error}") from error


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = f"{BACKBONE}encoder.stages."
    return {
        "resnet": ResNetConfig(
            stem=_shape(state, BACKBONE + _FIRST["resnet50"])[0],
            widths=tuple(_shape(state, f"{stages}{s}.layers.0.shortcut.convolution.weight")[0] for s in range(4)),
            depths=tuple(_count(state, f"{stages}{s}.layers.") for s in range(4)),
        )
    }


def _swin(state: Mapping[str, Tensor]) -> dict[str, Any]:
    layers = f"{BACKBONE}encoder.layers."
    tables = [_shape(state, f"{layers}{s}.blocks.0.attention.self.relative_position_bias_table") for s in range(4)]
    width = _shape(state, BACKBONE + _FIRST["swin_t"])[0]
    return {
        "swin": SwinConfig(
            width=width,
            depths=tuple(_count(state, f"{layers}{s}.blocks.") for s in range(4)),
            heads=tuple(table[1] for table in tables),
            window=(math.isqrt(tables[0][0]) + 1) // 2,
            mlp_ratio=_shape(state, f"{layers}0.blocks.0.intermediate.dense.weight")[0] / width,
        )
    }


def _tiny(state: Mapping[str, Tensor]) -> dict[str, Any]:
    widths = (_shape(state, f"{BACKBONE}stages.{s}.halve.convolution.weight")[0] for s in range(4))
    return {"tiny": TinyConfig(widths=tuple(widths))}


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise CheckpointError(f"the weights are of another architecture: there is no {name}")
    return tuple(state[name].shape)


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers there are: one more than the largest number after the prefix."""
    numbers = (re.match(r"\d+", name.removeprefix(prefix)) for name in state if name.startswith(prefix))
    return max((int(number[0]) for number in numbers if number), default=-1) + 1

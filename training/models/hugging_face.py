"""Hugging Face's configuration of Mask2Former: what of it we can compute, and ours said in its words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from training.config import ModelConfig
from training.models.architecture import POINTS
from training.models.checkpoint_files import CheckpointError

# Options of Hugging Face's configuration that change the network and leave no trace in its weights' shapes.
_ONLY: Mapping[str, Any] = MappingProxyType(
    {
        "activation_function": "relu",
        "common_stride": 4,
        "pre_norm": False,
        "enforce_input_projection": False,
        "backbone_config.downsample_in_bottleneck": False,
        "backbone_config.downsample_in_first_stage": False,
        "backbone_config.layer_type": "bottleneck",
        "backbone_config.hidden_act": {"resnet": "relu", "swin": "gelu"},
        "backbone_config.layer_norm_eps": 1e-5,
        "backbone_config.patch_size": 4,
        "backbone_config.use_absolute_embeddings": False,
    }
)


def require_supported(config: Mapping[str, Any]) -> None:
    """Refuses a Hugging Face model that computes something else with weights of the same shapes.

    Args:
        config: Content of its ``config.json``.

    Raises:
        CheckpointError: naming the option.
    """
    if config.get("model_type") != "mask2former":
        raise CheckpointError(f"it is a model of type {config.get('model_type')!r}, and must be mask2former")
    backbone = config.get("backbone_config") or {}
    values = {**config, **{f"backbone_config.{key}": value for key, value in backbone.items()}}
    for name, wanted in _ONLY.items():
        only = wanted.get(backbone.get("model_type")) if isinstance(wanted, dict) else wanted
        if name in values and values[name] != only:
            raise CheckpointError(f"its config.json says {name}={values[name]!r}; supported is {only!r}")


def hugging_face_config(config: ModelConfig) -> dict[str, Any]:
    """Content of the ``config.json`` that makes transformers build the same network.

    Args:
        config: Of ``resnet50`` or ``swin_t``.

    Returns:
        Plain values, JSON-ready.

    Raises:
        CheckpointError: when transformers has no such network.

    Example:
        >>> hugging_face_config(ModelConfig(queries=50))["num_queries"]
        50
    """
    if config.backbone == "tiny":
        raise CheckpointError("transformers has no backbone like model.backbone=tiny: choose resnet50 or swin_t")
    if config.encoder_points != POINTS:
        raise CheckpointError(f"transformers has model.encoder_points={POINTS} alone, got {config.encoder_points}")
    stages = [f"stage{stage}" for stage in range(1, 5)]
    backbone: dict[str, Any] = {"out_features": stages}
    if config.backbone == "resnet50":
        resnet = config.resnet
        backbone |= {"model_type": "resnet", "embedding_size": resnet.stem, "hidden_sizes": list(resnet.widths)}
        backbone |= {"depths": list(resnet.depths), "layer_type": "bottleneck", "downsample_in_bottleneck": False}
    else:
        swin = config.swin
        backbone |= {"model_type": "swin", "embed_dim": swin.width, "num_heads": list(swin.heads)}
        backbone |= {"depths": list(swin.depths), "window_size": swin.window, "mlp_ratio": swin.mlp_ratio}
        backbone |= {"drop_path_rate": swin.drop_path}
    names = ["object"] if config.classes == 1 else [f"class {index}" for index in range(config.classes)]
    return {
        "model_type": "mask2former",
        "architectures": ["Mask2FormerForUniversalSegmentation"],
        "backbone_config": backbone,
        "feature_size": config.width,
        "mask_feature_size": config.width,
        "hidden_dim": config.width,
        "num_queries": config.queries,
        "num_attention_heads": config.heads,
        "encoder_layers": config.encoder_layers,
        "encoder_feedforward_dim": config.encoder_feedforward,
        "decoder_layers": config.decoder_layers + 1,  # it counts the prediction before the first layer
        "dim_feedforward": config.decoder_feedforward,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }

"""A vision transformer with its weights in place, wherever they come from; weights that do not fit are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn

from dico.features.checkpoints import Architecture, infer_architecture, read_official, require_same_keys, to_hub
from dico.features.positions import interpolate_positions
from dico.features.weights import FAMILIES, CheckpointError, locate, remedy

_MODEL_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "vit": "ViTModel",
        "dinov2": "Dinov2Model",
        "dinov2_with_registers": "Dinov2WithRegistersModel",
        "dinov3_vit": "DINOv3ViTModel",
    }
)
# Of every release: module names changed with transformers 5.
_PROJECTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"query": ("q_proj", "query"), "key": ("k_proj", "key"), "value": ("v_proj", "value")}
)


@dataclass(frozen=True)
class Backbone:
    """A network in evaluation mode.

    Attributes:
        model: The transformers model; its tokens end with the patches, row by row.
        patch: Side of a patch in pixels.
        blocks: Its blocks, first to last; shortening the list shortens the network.
    """

    model: Any
    patch: int
    blocks: nn.ModuleList

    def __call__(self, pixels_B3HW: Tensor) -> None:
        """Run the network for its hooks' sake; sides must be multiples of ``patch``."""
        # ViTModel alone refuses sizes other than its own unless told.
        extra = {"interpolate_pos_encoding": True} if self.model.config.model_type == "vit" else {}
        self.model(pixels_B3HW, **extra)

    def facet_module(self, block: int, facet: str) -> nn.Module:
        """The module whose output is a facet.

        Args:
            block: Index into ``blocks``.
            facet: ``key``, ``query``, ``value`` or ``token``.

        Returns:
            The block itself for ``token``, else the linear projection in its attention.
        """
        layer: nn.Module = self.blocks[block]
        if facet == "token":
            return layer
        modules: Iterable[tuple[str, nn.Module]] = layer.named_modules()
        return next(module for name, module in modules if name.rpartition(".")[2] in _PROJECTIONS[facet])


def load_backbone(name: str, weights: str, *, device: str, dtype: str) -> Backbone:
    """The network of one family with its weights loaded, every one of them.

    Args:
        name: ``dino``, ``dinov2`` or ``dinov3``.
        weights: A hub id, a local Hugging Face folder, or an official checkpoint file.
        device: Torch device.
        dtype: Name of a torch dtype.

    Returns:
        The backbone.

    Raises:
        CheckpointError: when the weights are missing, unreadable, of another family, or do not fit the network; lists
            every missing, unexpected and misshapen key.
        ValueError: when there is no such device.
    """
    where = locate(name, weights)
    target = _device(device)
    options = {"dtype": getattr(torch, dtype), "attn_implementation": "sdpa"}
    if isinstance(where, Path) and where.is_file():
        model = _from_official(name, where, options)
    else:
        model = _from_hugging_face(name, str(where), options)
    sides = model.config.patch_size
    patch: int = sides if isinstance(sides, int) else sides[0]
    if model.config.model_type in ("vit", "dinov2"):
        _publish_positions(model.embeddings, patch)
    blocks = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
    return Backbone(model.eval().to(target), patch, blocks)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"extractor.device must be a torch device such as cpu or cuda:0, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"extractor.device={name}: torch sees no CUDA device here; set extractor.device=cpu")
    return device


def _from_official(name: str, path: Path, options: Mapping[str, Any]) -> Any:
    if not FAMILIES[name].official_files:
        raise CheckpointError(f"{path}: official files of {name} are not read. {remedy(name)}")
    state = read_official(path)
    try:
        architecture = infer_architecture(state)
        found = "dinov2" if architecture.layer_scale else "dino"
        if found != name:
            raise CheckpointError(f"is a checkpoint of {found}: set extractor.name={found}, got {name}")
        renamed = to_hub(state, architecture)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return _load(_configuration(architecture), options, what=str(path), weights=None, state_dict=renamed)


def _from_hugging_face(name: str, weights: str, options: Mapping[str, Any]) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(weights)
        if config.model_type not in FAMILIES[name].model_types:
            others = [other for other, family in FAMILIES.items() if config.model_type in family.model_types]
            hint = f"set extractor.name={others[0]}" if others else remedy(name)
            raise CheckpointError(f"{weights} is a model of type {config.model_type!r}, not {name}: {hint}")
        return _load(config, options, what=weights, weights=weights)
    except CheckpointError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"cannot load {name} from {weights!r}: {error}\n{remedy(name)}") from error


def _load(config: Any, options: Mapping[str, Any], *, what: str, weights: str | None, **source: Any) -> Any:
    model_class = getattr(transformers, _MODEL_CLASSES[config.model_type])
    # The pooler is a layer on top of the class token that DINO was not trained with.
    extra = {"add_pooling_layer": False} if config.model_type == "vit" else {}
    model, info = model_class.from_pretrained(
        weights,
        config=config,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are reported below, all of them
        **options,
        **extra,
        **source,
    )
    unexpected = {key for key in info["unexpected_keys"] if not key.startswith("pooler.")}
    require_same_keys(what, missing=set(info["missing_keys"]), unexpected=unexpected)
    if misshapen := sorted(_misshapen(model, entry) for entry in info["mismatched_keys"]):
        raise CheckpointError(f"{what} does not fit the network; {len(misshapen)} misshapen: {', '.join(misshapen)}")
    return model


def _misshapen(model: Any, entry: str | tuple[str, Any, Any]) -> str:
    # transformers 4 names the key, 5 adds the shapes found and wanted.
    key, found = (entry, "") if isinstance(entry, str) else (entry[0], f", not {tuple(entry[1])}")
    return f"{key} must be {tuple(model.state_dict()[key].shape)}{found}"


def _configuration(architecture: Architecture) -> Any:
    values: dict[str, Any] = {
        "hidden_size": architecture.width,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "patch_size": architecture.patch,
        "image_size": architecture.grid * architecture.patch,
        "layer_norm_eps": 1e-6,
    }
    if not architecture.layer_scale:
        return transformers.AutoConfig.for_model("vit", intermediate_size=architecture.mlp_width, **values)
    # A gated MLP of ratio 4 is two thirds as wide (Shazeer 2020), which its shapes show only rounded.
    values["mlp_ratio"] = 4 if architecture.swiglu else architecture.mlp_width // architecture.width
    values["use_swiglu_ffn"] = architecture.swiglu
    if not architecture.registers:
        return transformers.AutoConfig.for_model("dinov2", **values)
    values["num_register_tokens"] = architecture.registers
    return transformers.AutoConfig.for_model("dinov2_with_registers", **values)


def _publish_positions(embeddings: Any, patch: int) -> None:
    def positions(_tokens: Tensor, height: int, width: int) -> Tensor:
        return interpolate_positions(embeddings.position_embeddings, (height // patch, width // patch))

    embeddings.interpolate_pos_encoding = positions

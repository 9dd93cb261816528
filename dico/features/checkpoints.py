"""Official checkpoint files of DINO and DINOv2, read and renamed to what Hugging Face publishes of the same networks.

Axes: P positions (class token first), C channels.

The target is the naming of the files on the Hugging Face hub, not that of any release's modules: transformers loads the
former in every version, while module names change between versions.

Sources: Caron et al. 2021 (DINO), Oquab et al. 2023 (DINOv2), Darcet et al. 2023 (registers).
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dico.features.weights import CheckpointError

HEAD_WIDTH = 64
"""Channels of one attention head in every published DINO and DINOv2; shapes of tensors do not tell it."""

# What training checkpoints wrap the backbone in: dictionaries by these keys, then names with these prefixes. A teacher
# is the model that is published (an average of the students), so it comes first.
_WRAPPERS = ("teacher", "state_dict", "model", "student")
_PREFIXES = ("teacher.", "module.", "backbone.", "student.")
_PATCH_WEIGHT = "patch_embed.proj.weight"


@dataclass(frozen=True)
class Architecture:
    """The shape of a vision transformer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        patch: Side of a patch in pixels.
        grid: Side of the grid of position embeddings, in patches.
        mlp_width: Channels of the first layer of the MLP (of both halves together with SwiGLU).
        registers: Number of register tokens.
        layer_scale: Whether residual branches are scaled per channel: DINOv2 does, DINO does not.
        swiglu: Whether the MLP is gated (DINOv2 ViT-g).
    """

    width: int
    depth: int
    patch: int
    grid: int
    mlp_width: int
    registers: int
    layer_scale: bool
    swiglu: bool

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return self.width // HEAD_WIDTH


def read_official(path: Path) -> dict[str, Tensor]:
    """The backbone's tensors of a checkpoint file, under their official names.

    A training checkpoint is unwrapped to its backbone: the teacher's when there is one. Projection heads, optimizer
    states and the like are left behind.

    Args:
        path: A file written by ``torch.save``. Only tensors and plain values are unpickled, never code.

    Returns:
        Names such as ``blocks.0.attn.qkv.weight``, on the CPU.

    Raises:
        CheckpointError: when the file cannot be read safely, or holds no vision transformer.
    """
    try:
        # DINO's training checkpoints carry their command line.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint of plain tensors ({error}). An official file is a state "
            "dict written by torch.save; a truncated download fails like this too."
        ) from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} must hold a state dict, got {type(loaded).__name__}")
    return _backbone(loaded, path)


def infer_architecture(state: Mapping[str, Tensor]) -> Architecture:
    """The network that a state dict belongs to, from the shapes of its tensors.

    Args:
        state: Tensors under their official names.

    Returns:
        The architecture; whether every tensor of it is there is :func:`to_hub`'s to check.

    Raises:
        CheckpointError: when the shapes are not those of a DINO or DINOv2 network.
    """
    if "pos_embed" not in state:
        raise CheckpointError(
            "the checkpoint has no pos_embed: it is not of DINO or DINOv2. For DINOv3 pass the Hugging Face folder."
        )
    projection, positions = tuple(state[_PATCH_WEIGHT].shape), tuple(state["pos_embed"].shape)
    if len(projection) != 4 or projection[2] != projection[3] or projection[0] % HEAD_WIDTH:
        rule = f"(width, 3, patch, patch) with a width that is a multiple of {HEAD_WIDTH}"
        raise CheckpointError(f"{_PATCH_WEIGHT} must be {rule}, got {projection}")
    width, _, patch, _ = projection
    grid = math.isqrt(positions[1] - 1) if len(positions) == 3 else 0
    if positions != (1, 1 + grid * grid, width):
        raise CheckpointError(f"pos_embed must be (1, 1 + a square number, {width}), got {positions}")
    blocks = [int(match[1]) for key in state if (match := re.match(r"blocks\.(\d+)\.", key))]
    swiglu = "blocks.0.mlp.w12.weight" in state
    mlp = state.get("blocks.0.mlp.w12.weight" if swiglu else "blocks.0.mlp.fc1.weight")
    return Architecture(
        width=width,
        depth=max(blocks, default=-1) + 1,
        patch=patch,
        grid=grid,
        mlp_width=4 * width if mlp is None else mlp.shape[0],
        registers=state["register_tokens"].shape[1] if "register_tokens" in state else 0,
        layer_scale="blocks.0.ls1.gamma" in state,
        swiglu=swiglu,
    )


def hub_names(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """Every official name of an architecture, and the names its tensor has on the Hugging Face hub.

    Args:
        architecture: Any.

    Returns:
        Official name to hub names, in order. Several names: the tensor is split into as many equal parts along its
        first axis (the fused query, key and value).
    """
    names: dict[str, tuple[str, ...]] = {
        "cls_token": ("embeddings.cls_token",),
        "pos_embed": ("embeddings.position_embeddings",),
    }
    if architecture.layer_scale:
        names["mask_token"] = ("embeddings.mask_token",)
    if architecture.registers:
        names["register_tokens"] = ("embeddings.register_tokens",)
    modules: dict[str, tuple[str, ...]] = {
        "patch_embed.proj": ("embeddings.patch_embeddings.projection",),
        "norm": ("layernorm",),
    }
    for block in range(architecture.depth):
        official, hub = f"blocks.{block}.", f"encoder.layer.{block}."
        for name, targets in _block_modules(architecture).items():
            modules[official + name] = tuple(hub + target for target in targets)
        if architecture.layer_scale:
            for branch in (1, 2):
                names[f"{official}ls{branch}.gamma"] = (f"{hub}layer_scale{branch}.lambda1",)
    for name, targets in modules.items():
        for kind in ("weight", "bias"):
            names[f"{name}.{kind}"] = tuple(f"{target}.{kind}" for target in targets)
    return names


def to_hub(state: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """A state dict under its hub names, with the fused query, key and value split.

    Args:
        state: Tensors under their official names.
        architecture: What the tensors must be, exactly.

    Returns:
        Tensors under the names of Hugging Face's published files.

    Raises:
        CheckpointError: listing every missing and every unexpected key.
    """
    names = hub_names(architecture)
    require_same_keys("the checkpoint", missing=names.keys() - state.keys(), unexpected=state.keys() - names.keys())
    renamed: dict[str, Tensor] = {}
    for official, targets in names.items():
        parts = state[official].chunk(len(targets))
        renamed.update(zip(targets, parts, strict=True))
    return renamed


def require_same_keys(what: str, *, missing: set[str], unexpected: set[str]) -> None:
    """Refuse weights that are not exactly the network's.

    Args:
        what: The weights, for the message.
        missing: Keys that the network has and the weights lack.
        unexpected: Keys that the weights have and the network lacks.

    Raises:
        CheckpointError: when either is not empty; lists all of both.
    """
    if missing or unexpected:
        lists = [
            f"{len(keys)} {kind}: {', '.join(sorted(keys))}"
            for kind, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        ]
        raise CheckpointError(f"{what} does not fit the network; keys {'; '.join(lists)}")


def _block_modules(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    attention = {
        "attn.qkv": tuple(f"attention.attention.{facet}" for facet in ("query", "key", "value")),
        "attn.proj": ("attention.output.dense",),
    }
    if not architecture.layer_scale:
        return attention | {
            "norm1": ("layernorm_before",),
            "norm2": ("layernorm_after",),
            "mlp.fc1": ("intermediate.dense",),
            "mlp.fc2": ("output.dense",),
        }
    mlp = {"mlp.w12": "mlp.weights_in", "mlp.w3": "mlp.weights_out"}
    if not architecture.swiglu:
        mlp = {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    return attention | {name: (hub,) for name, hub in {"norm1": "norm1", "norm2": "norm2", **mlp}.items()}


def _backbone(loaded: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    state = dict(loaded)
    while _PATCH_WEIGHT not in state:
        wrapper = next((key for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None)
        prefix = next((prefix for prefix in _PREFIXES if any(key.startswith(prefix) for key in state)), None)
        if wrapper is not None:
            state = dict(state[wrapper])
        elif prefix is not None:
            state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        else:
            keys = ", ".join(sorted(map(str, state))[:5])
            raise CheckpointError(
                f"{path} holds no vision transformer of DINO or DINOv2: it has no {_PATCH_WEIGHT}, its keys begin with "
                f"{keys}. For a file in Hugging Face's naming pass the folder that also holds its config.json."
            )
    if wrong := [str(key) for key, value in state.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path} must hold tensors only, but these are not: {', '.join(sorted(wrong))}")
    # Sharded training of DINOv2 groups blocks: blocks.<group>.<block>, the second index counting through.
    return {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): value for key, value in state.items()}

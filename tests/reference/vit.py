"""Vision transformers written out from the papers: the features that dico.features.vit must give.

Plain tensor arithmetic on state dicts; no modules, no hooks, no transformers. DINO: Caron et al. 2021; DINOv2: Oquab et
al. 2023; registers: Darcet et al. 2023; DINOv3: Simeoni et al. 2025.

Axes: B images, H W pixels, h w patches, P patch tokens, T all tokens, C channels, D channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """What a random official checkpoint looks like."""

    width: int = 64
    depth: int = 3
    patch: int = 8
    grid: int = 4
    dinov2: bool = False
    registers: int = 0
    swiglu: bool = False


def random_official(shape: Shape, seed: int = 0) -> dict[str, Tensor]:
    """A state dict in the naming and the shapes of the DINO or DINOv2 repository, with lively values."""
    generator = torch.Generator().manual_seed(seed)
    width = shape.width

    def values(*sides: int, scale: float, mean: float = 0.0) -> Tensor:
        return mean + scale * torch.randn(*sides, generator=generator)

    state = {
        "cls_token": values(1, 1, width, scale=1.0),
        "pos_embed": values(1, 1 + shape.grid**2, width, scale=1.0),
        "patch_embed.proj.weight": values(width, 3, shape.patch, shape.patch, scale=1 / shape.patch),
        "patch_embed.proj.bias": values(width, scale=0.1),
        "norm.weight": values(width, scale=0.1, mean=1.0),
        "norm.bias": values(width, scale=0.1),
    }
    if shape.dinov2:
        state["mask_token"] = values(1, width, scale=1.0)
    if shape.registers:
        state["register_tokens"] = values(1, shape.registers, width, scale=1.0)
    hidden = (int(width * 4 * 2 / 3) + 7) // 8 * 8
    layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    layers |= (
        {"mlp.w12": (2 * hidden, width), "mlp.w3": (width, hidden)}
        if shape.swiglu
        else {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    )
    for block in range(shape.depth):
        for name, (rows, columns) in layers.items():
            state[f"blocks.{block}.{name}.weight"] = values(rows, columns, scale=1.5 / math.sqrt(columns))
            state[f"blocks.{block}.{name}.bias"] = values(rows, scale=0.1)
        for name in ("norm1", "norm2"):
            state[f"blocks.{block}.{name}.weight"] = values(width, scale=0.1, mean=1.0)
            state[f"blocks.{block}.{name}.bias"] = values(width, scale=0.1)
        for name in ("ls1", "ls2") if shape.dinov2 else ():
            state[f"blocks.{block}.{name}.gamma"] = values(width, scale=0.2, mean=0.7)
    return state


def normalised_pixels(images_BHW3: Tensor) -> Tensor:
    """(B, 3, H, W) from uint8: ImageNet mean and deviation."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((images_BHW3.double() / 255 - mean) / deviation).float().permute(0, 3, 1, 2)


def official_facet(state: State, pixels_B3HW: Tensor, *, block: int, facet: str, head_width: int = 64) -> Tensor:
    """(B, h, w, C), unit norm: one facet of one block of a DINO or DINOv2 network, under its official names."""
    patch = state["patch_embed.proj.weight"].shape[-1]
    patches_BChw = functional.conv2d(
        pixels_B3HW, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch
    )
    batch, width, h, w = patches_BChw.shape
    registers = state.get("register_tokens", torch.zeros(1, 0, width))
    tokens_BTC = torch.cat([state["cls_token"].expand(batch, -1, -1), patches_BChw.flatten(2).transpose(1, 2)], dim=1)
    tokens_BTC = tokens_BTC + _positions(state["pos_embed"], h, w, antialias=registers.shape[1] > 0)
    tokens_BTC = torch.cat([tokens_BTC[:, :1], registers.expand(batch, -1, -1), tokens_BTC[:, 1:]], dim=1)
    facets: dict[str, Tensor] = {}
    for index in range(block + 1):
        weights = {
            key.removeprefix(f"blocks.{index}."): value
            for key, value in state.items()
            if key.startswith(f"blocks.{index}.")
        }
        tokens_BTC, facets = _official_block(tokens_BTC, weights, heads=width // head_width)
    feats_BPC = facets[facet][:, 1 + registers.shape[1] :]
    return functional.normalize(feats_BPC, dim=-1).reshape(batch, h, w, width)


def dinov3_facet(state: State, pixels_B3HW: Tensor, *, block: int, facet: str, heads: int) -> Tensor:
    """(B, h, w, C), unit norm: one facet of one block of a DINOv3 ViT, under the names it has on the hub."""
    weight = state["embeddings.patch_embeddings.weight"]
    patches_BChw = functional.conv2d(
        pixels_B3HW, weight, state["embeddings.patch_embeddings.bias"], stride=weight.shape[-1]
    )
    batch, width, h, w = patches_BChw.shape
    prefix_1TC = torch.cat([state["embeddings.cls_token"], state["embeddings.register_tokens"]], dim=1)
    tokens_BTC = torch.cat([prefix_1TC.expand(batch, -1, -1), patches_BChw.flatten(2).transpose(1, 2)], dim=1)
    angles_PD = _rotation_angles(h, w, width // heads)
    facets: dict[str, Tensor] = {}
    for index in range(block + 1):
        at = f"layer.{index}."
        weights = {key.removeprefix(at): value for key, value in state.items() if key.startswith(at)}
        tokens_BTC, facets = _dinov3_block(tokens_BTC, weights, angles_PD, heads=heads)
    feats_BPC = facets[facet][:, -h * w :]
    return functional.normalize(feats_BPC, dim=-1).reshape(batch, h, w, width)


def _official_block(tokens_BTC: Tensor, weights: State, *, heads: int) -> tuple[Tensor, dict[str, Tensor]]:
    width = tokens_BTC.shape[-1]
    fused = _linear(_norm(tokens_BTC, weights, "norm1", eps=1e-6), weights, "attn.qkv")
    facets = {name: fused[..., i * width : (i + 1) * width] for i, name in enumerate(("query", "key", "value"))}
    mixed = _linear(_attention(facets["query"], facets["key"], facets["value"], heads), weights, "attn.proj")
    tokens_BTC = tokens_BTC + mixed * weights.get("ls1.gamma", torch.ones(width))
    hidden = _norm(tokens_BTC, weights, "norm2", eps=1e-6)
    if "mlp.w12.weight" in weights:
        gate, value = _linear(hidden, weights, "mlp.w12").chunk(2, dim=-1)
        hidden = _linear(gate * torch.sigmoid(gate) * value, weights, "mlp.w3")
    else:
        hidden = _linear(_gelu(_linear(hidden, weights, "mlp.fc1")), weights, "mlp.fc2")
    tokens_BTC = tokens_BTC + hidden * weights.get("ls2.gamma", torch.ones(width))
    return tokens_BTC, facets | {"token": tokens_BTC}


def _dinov3_block(
    tokens_BTC: Tensor, weights: State, angles_PD: Tensor, *, heads: int
) -> tuple[Tensor, dict[str, Tensor]]:
    normed = _norm(tokens_BTC, weights, "norm1", eps=1e-5)
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
    facets = {facet: _linear(normed, weights, f"attention.{name}") for facet, name in names.items()}
    query, key = (_rotate(facets[name], angles_PD, heads) for name in ("query", "key"))
    mixed = _linear(_attention(query, key, facets["value"], heads), weights, "attention.o_proj")
    tokens_BTC = tokens_BTC + mixed * weights["layer_scale1.lambda1"]
    hidden = _gelu(_linear(_norm(tokens_BTC, weights, "norm2", eps=1e-5), weights, "mlp.up_proj"))
    tokens_BTC = tokens_BTC + _linear(hidden, weights, "mlp.down_proj") * weights["layer_scale2.lambda1"]
    return tokens_BTC, facets | {"token": tokens_BTC}


def _linear(values: Tensor, weights: State, name: str) -> Tensor:
    bias = weights.get(f"{name}.bias")
    product = values @ weights[f"{name}.weight"].T
    return product if bias is None else product + bias


def _norm(values: Tensor, weights: State, name: str, *, eps: float) -> Tensor:
    centred = values - values.mean(dim=-1, keepdim=True)
    deviation = torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + eps)
    return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(values: Tensor) -> Tensor:
    return values * 0.5 * (1 + torch.erf(values / math.sqrt(2)))


def _attention(query_BTC: Tensor, key_BTC: Tensor, value_BTC: Tensor, heads: int) -> Tensor:
    depth = query_BTC.shape[-1] // heads
    mixed = []
    for head in range(heads):
        of_head = slice(head * depth, (head + 1) * depth)
        scores_BTT = query_BTC[..., of_head] @ key_BTC[..., of_head].transpose(1, 2) / math.sqrt(depth)
        mixed.append(torch.softmax(scores_BTT, dim=-1) @ value_BTC[..., of_head])
    return torch.cat(mixed, dim=-1)


def _positions(positions_1PC: Tensor, h: int, w: int, *, antialias: bool) -> Tensor:
    """As published: by a scale with 0.1 added to the patches, or with registers to a size and anti-aliased."""
    side = math.isqrt(positions_1PC.shape[1] - 1)
    if h == w == side:
        return positions_1PC
    grid = positions_1PC[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if antialias:
        grid = functional.interpolate(grid, size=(h, w), mode="bicubic", antialias=True)
    else:
        grid = functional.interpolate(grid, scale_factor=((h + 0.1) / side, (w + 0.1) / side), mode="bicubic")
    return torch.cat([positions_1PC[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def _rotation_angles(h: int, w: int, depth: int) -> Tensor:
    """(P, D): patch centres in [-1, 1] times depth / 4 frequencies, rows then columns, both halves alike; base 100."""
    angles = []
    for y in range(h):
        for x in range(w):
            centre = (2 * (y + 0.5) / h - 1, 2 * (x + 0.5) / w - 1)
            half = [2 * math.pi * c / 100 ** (4 * i / depth) for c in centre for i in range(depth // 4)]
            angles.append(half + half)
    return torch.tensor(angles)


def _rotate(values_BTC: Tensor, angles_PD: Tensor, heads: int) -> Tensor:
    patches, depth = angles_PD.shape
    rotated = values_BTC.clone()
    for head in range(heads):
        first = slice(head * depth, head * depth + depth // 2)
        second = slice(head * depth + depth // 2, (head + 1) * depth)
        a, b = values_BTC[:, -patches:, first], values_BTC[:, -patches:, second]
        cos, sin = torch.cos(angles_PD[:, : depth // 2]), torch.sin(angles_PD[:, : depth // 2])
        rotated[:, -patches:, first] = a * cos - b * sin
        rotated[:, -patches:, second] = b * cos + a * sin
    return rotated

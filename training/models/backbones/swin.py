"""Shifted-window transformers (Liu et al. 2021), Swin-T first of all.

Images and maps of any size: what is missing to whole windows is filled with zeros, and the window never gets smaller.
Both branches of a block are left out by chance in training, as published. Parameters are named as in Hugging Face's
files.

Axes: B images, h w cells of a map, C channels, M heads, W windows of an image, T cells of a window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import SwinConfig
from training.models.backbones.base import Backbone

PATCH = 4
"""Side of the squares of pixels that become the first cells."""
STAGES = 4


class Swin(Backbone):
    """Patches of 4 pixels and four stages of attention within windows.

    Args:
        config: Widths, depths, heads, window.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.channels = tuple(config.width * 2**stage for stage in range(STAGES))
        projection = nn.Conv2d(3, config.width, PATCH, stride=PATCH)
        patches = nn.ModuleDict({"projection": projection})
        self.embeddings = nn.ModuleDict({"patch_embeddings": patches, "norm": nn.LayerNorm(config.width)})
        blocks = sum(config.depths)
        chances = [config.drop_path * block / max(1, blocks - 1) for block in range(blocks)]
        stages = []
        for stage, depth in enumerate(config.depths):
            done = sum(config.depths[:stage])
            stages.append(_Stage(config, stage, chances[done : done + depth]))
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(stages)})
        norms = {f"stage{stage + 1}": nn.LayerNorm(width) for stage, width in enumerate(self.channels)}
        self.hidden_states_norms = nn.ModuleDict(norms)
        self.apply(_reset)

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, ...]:
        """The maps of strides 4, 8, 16 and 32; see :class:`Backbone`."""
        projection = self.embeddings["patch_embeddings"]["projection"]  # type: ignore[index]
        padded_B3HW = functional.pad(images_B3HW, _padding(images_B3HW.shape[2], images_B3HW.shape[3], PATCH))
        hidden_BhwC = self.embeddings["norm"](projection(padded_B3HW).permute(0, 2, 3, 1))
        maps = []
        stages = zip(self.encoder["layers"].children(), self.hidden_states_norms.values(), strict=True)
        for stage, norm in stages:
            before_BhwC, hidden_BhwC = stage(hidden_BhwC)
            maps.append(norm(before_BhwC).permute(0, 3, 1, 2).contiguous())
        return tuple(maps)


class _Stage(nn.Module):
    def __init__(self, config: SwinConfig, stage: int, chances: list[float]) -> None:
        super().__init__()
        width = config.width * 2**stage
        self.window = config.window
        self.blocks = nn.ModuleList(_Block(config, width, config.heads[stage], chance) for chance in chances)
        self.downsample = _Merge(width) if stage < STAGES - 1 else None

    def forward(self, hidden_BhwC: Tensor) -> tuple[Tensor, Tensor]:
        """The stage's result, and the next stage's input."""
        h, w = hidden_BhwC.shape[1:3]
        shift = self.window // 2
        apart_WTT = _apart(h, w, self.window, shift, hidden_BhwC.device)
        for index, block in enumerate(self.blocks):
            shifted = index % 2 == 1
            hidden_BhwC = block(hidden_BhwC, shift if shifted else 0, apart_WTT if shifted else None)
        return hidden_BhwC, hidden_BhwC if self.downsample is None else self.downsample(hidden_BhwC)


class _Block(nn.Module):
    def __init__(self, config: SwinConfig, width: int, heads: int, chance: float) -> None:
        super().__init__()
        self.window, self.chance = config.window, chance
        middle = int(width * config.mlp_ratio)
        self.layernorm_before = nn.LayerNorm(width)
        self.attention = _WindowAttention(width, heads, config.window)
        self.layernorm_after = nn.LayerNorm(width)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, middle)})
        self.output = nn.ModuleDict({"dense": nn.Linear(middle, width)})

    def forward(self, hidden_BhwC: Tensor, shift: int, apart_WTT: Tensor | None) -> Tensor:
        seen_BhwC = self._look(self.layernorm_before(hidden_BhwC), shift, apart_WTT)
        hidden_BhwC = hidden_BhwC + self._sometimes(seen_BhwC)
        middle = functional.gelu(self.intermediate["dense"](self.layernorm_after(hidden_BhwC)))
        hidden_BhwC = hidden_BhwC + self._sometimes(self.output["dense"](middle))
        return hidden_BhwC

    def _look(self, normed_BhwC: Tensor, shift: int, apart_WTT: Tensor | None) -> Tensor:
        B, h, w, C = normed_BhwC.shape
        side = self.window
        padded = functional.pad(normed_BhwC, (0, 0, *_padding(h, w, side)))
        if shift:
            padded = padded.roll((-shift, -shift), (1, 2))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(B, rows, side, columns, side, C).transpose(2, 3)
        seen: Tensor = self.attention(windows.reshape(B, rows * columns, side * side, C), apart_WTT)
        seen = seen.view(B, rows, columns, side, side, C).transpose(2, 3).reshape(padded.shape)
        if shift:
            seen = seen.roll((shift, shift), (1, 2))
        return seen[:, :h, :w]

    def _sometimes(self, branch_BhwC: Tensor) -> Tensor:
        if not self.training or self.chance == 0:
            return branch_BhwC
        keep_B111 = torch.rand(len(branch_BhwC), 1, 1, 1, device=branch_BhwC.device) >= self.chance
        return branch_BhwC * (keep_B111.to(branch_BhwC.dtype) / (1 - self.chance))


class _WindowAttention(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.add_module("self", _Projections(width, heads, window))  # a name that only files could choose
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, windows_BWTC: Tensor, apart_WTT: Tensor | None) -> Tensor:
        B, W, T, C = windows_BWTC.shape
        projections = self.get_submodule("self")
        query, key, value = (
            projected.view(B * W, T, self.heads, -1).transpose(1, 2) for projected in projections(windows_BWTC)
        )
        bias = projections.bias()[None]  # type: ignore[operator]
        if apart_WTT is not None:
            bias_WMTT = bias.masked_fill(apart_WTT[:, None], -torch.inf)
            bias = bias_WMTT.expand(B, -1, -1, -1, -1).flatten(0, 1)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        seen_BWTC: Tensor = self.output["dense"](seen.transpose(1, 2).reshape(B, W, T, C))
        return seen_BWTC


class _Projections(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        y, x = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij"))
        down, right = (axis[:, None] - axis[None] + window - 1 for axis in (y, x))
        self.rows_TT: Tensor
        self.register_buffer("rows_TT", down * (2 * window - 1) + right, persistent=False)

    def forward(self, windows_BWTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(windows_BWTC), self.key(windows_BWTC), self.value(windows_BWTC)

    def bias(self) -> Tensor:
        """(M, T, T): what is added to the scores of two cells, by where one is from the other."""
        return self.relative_position_bias_table[self.rows_TT].permute(2, 0, 1).contiguous()


class _Merge(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, hidden_BhwC: Tensor) -> Tensor:
        padded = functional.pad(hidden_BhwC, (0, 0, *_padding(hidden_BhwC.shape[1], hidden_BhwC.shape[2], 2)))
        quarters = [padded[:, y::2, x::2] for x in (0, 1) for y in (0, 1)]
        merged_BhwC: Tensor = self.reduction(self.norm(torch.cat(quarters, dim=-1)))
        return merged_BhwC


def _padding(h: int, w: int, divisor: int) -> tuple[int, int, int, int]:
    return 0, -w % divisor, 0, -h % divisor


def _apart(h: int, w: int, window: int, shift: int, device: torch.device) -> Tensor:
    """bool (W, T, T): cells that only the shift brought into one window, and which must not see one another."""
    parts = []
    for side in (h, w):
        cells = torch.arange(side + -side % window, device=device)
        # Those before the last window, those of it, and those that came around from the other end.
        parts.append((cells >= len(cells) - window).long() + (cells >= len(cells) - shift).long())
    regions_hw = parts[0][:, None] * 3 + parts[1]
    rows, columns = (len(part) // window for part in parts)
    regions_WT = regions_hw.view(rows, window, columns, window).transpose(1, 2).reshape(rows * columns, -1)
    return regions_WT[:, :, None] != regions_WT[:, None]


def _reset(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

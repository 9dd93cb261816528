"""The mask decoder: queries look inside the masks that they predicted last, and predict better ones.

Parameters are named as in Hugging Face's files of Mask2Former. Source: Cheng et al. 2022, Sec. 3.2.

A mask is the dot product of a query's mask embedding with the mask features, and resizing is linear: so where a query
may look next is the dot product with resized features, at 1/4 to 1/64 of the cells of a full mask. Full masks are not
made here at all.

Axes: L layers, B images, Q queries, S cells of a level, C channels, M heads, D channels of a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import ModelConfig
from training.models.attention import SelfAttention, attend
from training.models.feed_forward import FeedForwardLayer, mlp
from training.models.pixel_decoder import LEVELS, PixelFeatures
from training.models.positions import sine_positions


@dataclass(frozen=True)
class Queries:
    """What the decoder makes of the queries.

    Attributes:
        normed_LBQC: For the class predictor; the last layer comes last.
        embeddings_LBQC: The mask embeddings; a mask is the dot product with the mask features.
    """

    normed_LBQC: Tensor
    embeddings_LBQC: Tensor


class MaskDecoder(nn.Module):
    """Learned queries, refined by layers of masked attention.

    Args:
        config: Widths and numbers of queries and layers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.queries_features = nn.Embedding(config.queries, config.width)
        self.queries_embedder = nn.Embedding(config.queries, config.width)
        self.level_embed = nn.Embedding(LEVELS, config.width)
        self.decoder = _Layers(config)

    def forward(self, pixels: PixelFeatures, *, every_layer: bool) -> Queries:
        """The queries after the last layer, or also before it.

        Args:
            pixels: What the queries look at.
            every_layer: Also give what there is before the first layer and after each one, in this order.

        Returns:
            Queries of one layer, or of one more than there are layers.
        """
        features_BChw = pixels.mask_features_BChw
        B, width = features_BChw.shape[:2]
        memory, keys, resized = [], [], []
        for level_BSC, embedding_C, size_hw in zip(
            pixels.levels_BSC, self.level_embed.weight, pixels.sizes_hw, strict=True
        ):
            memory.append(level_BSC + embedding_C)
            positions_SC = sine_positions(size_hw, width, level_BSC.device).to(level_BSC.dtype)
            keys.append(memory[-1] + positions_SC)
            # No gradient goes through where a query may look.
            smaller_BChw = functional.interpolate(features_BChw.detach(), size=size_hw, mode="bilinear")
            resized.append(smaller_BChw.flatten(2))
        places_QC = self.queries_embedder.weight
        queries_BQC = self.queries_features.weight.expand(B, -1, -1)
        normed, embeddings = [], []
        layers = self.decoder.layers
        for index in range(len(layers) + 1):
            normed_BQC = self.decoder.layernorm(queries_BQC)
            embedding_BQC = self.decoder.mask_predictor(normed_BQC)
            if every_layer or index == len(layers):
                normed.append(normed_BQC)
                embeddings.append(embedding_BQC)
            if index < len(layers):
                level = index % LEVELS
                allowed_BQS = allowed_cells(embedding_BQC.detach(), resized[level])
                queries_BQC = layers[index](queries_BQC, places_QC, keys[level], memory[level], allowed_BQS)
        return Queries(torch.stack(normed), torch.stack(embeddings))


def allowed_cells(embedding_BQC: Tensor, features_BCS: Tensor) -> Tensor:
    """Where each query may look: inside its mask, or everywhere when that is empty.

    Args:
        embedding_BQC: Mask embeddings.
        features_BCS: Mask features at the cells of a level.

    Returns:
        bool (B, Q, S); at least one True in each row.

    Example:
        >>> allowed_cells(torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[[2.0, -2.0]]])).tolist()
        [[[True, False], [False, True]]]
        >>> allowed_cells(torch.tensor([[[1.0]]]), torch.tensor([[[-2.0, -2.0]]])).tolist()
        [[[True, True]]]
    """
    inside_BQS = embedding_BQC @ features_BCS >= 0
    return inside_BQS | ~inside_BQS.any(dim=-1, keepdim=True)


class _Layers(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.decoder_layers))
        self.layernorm = nn.LayerNorm(config.width)
        self.mask_predictor = _MaskEmbedding(config.width)


class _MaskEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask_embedder = mlp(width, width, width, width)

    def forward(self, queries_BQC: Tensor) -> Tensor:
        embedding_BQC: Tensor = self.mask_embedder(queries_BQC)
        return embedding_BQC


class _Layer(FeedForwardLayer):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.cross_attn = _CrossAttention(width, config.heads)
        self.cross_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.add_feed_forward(width, config.decoder_feedforward)

    def forward(
        self, queries_BQC: Tensor, places_QC: Tensor, keys_BSC: Tensor, memory_BSC: Tensor, allowed_BQS: Tensor
    ) -> Tensor:
        seen_BQC = self.cross_attn(queries_BQC + places_QC, keys_BSC, memory_BSC, allowed_BQS)
        queries_BQC = self.cross_attn_layer_norm(queries_BQC + seen_BQC)
        seen_BQC = self.self_attn(queries_BQC + places_QC, queries_BQC)
        queries_BQC = self.self_attn_layer_norm(queries_BQC + seen_BQC)
        return self.feed_forward(queries_BQC)


class _CrossAttention(nn.Module):
    # Query, key and value weights lie in one tensor, as in torch's MultiheadAttention: that is how the files have it.
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query_BQC: Tensor, key_BSC: Tensor, value_BSC: Tensor, allowed_BQS: Tensor) -> Tensor:
        inputs = (query_BQC, key_BSC, value_BSC)
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (functional.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
        seen_BQC: Tensor = self.out_proj(attend(q, k, v, self.heads, allowed_BQS))
        return seen_BQC

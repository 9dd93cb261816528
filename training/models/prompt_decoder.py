"""The decoder of prompts: the queries of one prompt look at one another, then at the image where their box is.

Deformable and not masked attention: what a mask is worth can only be told at the click itself. Prompts do not see one
another, in training and afterwards, so what one gives never depends on what else is asked (published: open afterwards).
Source: Li et al. 2023 (Semantic-SAM), Sec. 3; boxes as anchors from Liu et al. 2022 (DAB-DETR), Sec. 4.

Axes: L layers, B images, P prompts, Q masks of a prompt, N = P Q all queries of an image, C channels; 4 = centre x,
centre y, width, height.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from training.config import PromptableConfig
from training.models.attention import SelfAttention
from training.models.deform_attn import DeformableAttention, FramedValues
from training.models.feed_forward import FeedForwardLayer, mlp
from training.models.pixel_decoder import PixelFeatures
from training.models.positions import sines

EPSILON = 1e-5
"""Boxes stay so far away from 0 and 1, where their logits would not be finite."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the decoder makes of the queries.

    Attributes:
        embeddings_LBPQC: The mask embeddings; the last layer comes last.
        ious_LBPQ: The IoU that each mask is expected to have.
        boxes_LBPQ4: float32 in [0, 1]: the boxes after each layer.
    """

    embeddings_LBPQC: Tensor
    ious_LBPQ: Tensor
    boxes_LBPQ4: Tensor


class PromptDecoder(nn.Module):
    """Layers of attention that refine the queries of prompts and their boxes, and the heads that predict.

    Args:
        config: Widths and numbers of layers.
        levels: Levels of the pixel features.
    """

    def __init__(self, config: PromptableConfig, levels: int) -> None:
        super().__init__()
        width = config.width
        self.anchor_places = mlp(2 * width, width, width)
        self.layers = nn.ModuleList(_Layer(config, levels) for _ in range(config.decoder_layers))
        self.layernorm = nn.LayerNorm(width)
        self.mask_embedder = mlp(width, width, width, width)
        self.iou_predictor = mlp(width, width, width, 1)
        self.box_refiner = mlp(width, width, width, 4)
        for parameter in self.box_refiner[-1].parameters():
            nn.init.zeros_(parameter)

    def values(self, pixels: PixelFeatures) -> tuple[FramedValues, ...]:
        """What each layer looks at: once for an image, however often it is asked.

        Args:
            pixels: Of the pixel decoder.
        """
        cells_BSC = torch.cat(pixels.levels_BSC, dim=1)
        layers = cast("Iterable[_Layer]", self.layers)
        return tuple(layer.cross_attn.values(cells_BSC, pixels.sizes_hw) for layer in layers)

    def forward(
        self, content_BPQC: Tensor, anchors_BP4: Tensor, values: tuple[FramedValues, ...], *, every_layer: bool
    ) -> Answers:
        """What the queries find.

        Args:
            content_BPQC: Of the prompt encoder.
            anchors_BP4: float32 in [0, 1]: where the queries of each prompt begin.
            values: Of :meth:`values`.
            every_layer: Give what there is after each layer, not after the last one alone.

        Returns:
            Answers of one layer, or of all.
        """
        B, P, Q, C = content_BPQC.shape
        queries_BPQC, boxes_BPQ4 = content_BPQC, anchors_BP4[:, :, None].expand(B, P, Q, 4)
        embeddings, ious, boxes = [], [], []
        for index, (layer, seen) in enumerate(zip(self.layers, values, strict=True)):
            places_BPQC = self.anchor_places(_waves(boxes_BPQ4, C // 2).to(queries_BPQC.dtype))
            queries_BPQC = layer(queries_BPQC, places_BPQC, boxes_BPQ4, seen)
            moved_BPQ4 = boxes_BPQ4.logit(EPSILON) + self.box_refiner(queries_BPQC).float()
            refined_BPQ4 = moved_BPQ4.sigmoid()
            boxes_BPQ4 = refined_BPQ4.detach()
            if every_layer or index == len(self.layers) - 1:
                normed_BPQC = self.layernorm(queries_BPQC)
                embeddings.append(self.mask_embedder(normed_BPQC))
                ious.append(self.iou_predictor(normed_BPQC)[..., 0])
                boxes.append(refined_BPQ4)
        return Answers(torch.stack(embeddings), torch.stack(ious), torch.stack(boxes))


class _Layer(FeedForwardLayer):
    def __init__(self, config: PromptableConfig, levels: int) -> None:
        super().__init__()
        width = config.width
        self.self_attn = SelfAttention(width, config.heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.cross_attn = DeformableAttention(width, config.heads, levels, config.decoder_points)
        self.cross_attn_layer_norm = nn.LayerNorm(width)
        self.add_feed_forward(width, config.decoder_feedforward)

    def forward(self, queries_BPQC: Tensor, places_BPQC: Tensor, boxes_BPQ4: Tensor, values: FramedValues) -> Tensor:
        # Each prompt is an image of its own to the attention among queries: no mask of all prompts by all is made.
        placed_BPQC = queries_BPQC + places_BPQC
        seen_BPQC = self.self_attn(placed_BPQC.flatten(0, 1), queries_BPQC.flatten(0, 1)).view_as(queries_BPQC)
        queries_BPQC = self.self_attn_layer_norm(queries_BPQC + seen_BPQC)
        placed_BNC = (queries_BPQC + places_BPQC).flatten(1, 2)
        seen_BPQC = self.cross_attn.look(placed_BNC, boxes_BPQ4.flatten(1, 2), values).view_as(queries_BPQC)
        queries_BPQC = self.cross_attn_layer_norm(queries_BPQC + seen_BPQC)
        return self.feed_forward(queries_BPQC)


def _waves(boxes_BPQ4: Tensor, channels: int) -> Tensor:
    x, y, w, h = boxes_BPQ4.unbind(-1)
    return sines(torch.stack((y, x, w, h), dim=-1), channels)  # the order of published weights

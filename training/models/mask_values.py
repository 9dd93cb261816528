"""The masks that an image's queries predict, at points: products, of which only those that are asked for are made.

Axes: L layers, Q queries, q some of them, N targets, C channels, K points.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.models.points import sample_planes
from training.samples import FactoredOutput


@dataclass(frozen=True, eq=False)
class MaskValues:
    """The mask logits of one image and one layer at points that were chosen before.

    Attributes:
        embeddings_QC: Mask embeddings.
        features_CK: float32: the mask features at the points, sampled once for all layers and queries.
    """

    embeddings_QC: Tensor
    features_CK: Tensor

    def of(self, query_q: Tensor) -> Tensor:
        """The logits of some queries.

        Args:
            query_q: int64: which.

        Returns:
            float32 (q, K); gradients reach the predictions.
        """
        return self.embeddings_QC[query_q].float() @ self.features_CK

    def groups(self, targets_NK: Tensor, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The logits of all queries without gradients, some queries at a time, and their products with targets.

        Args:
            targets_NK: float32: the targets' values at the points.
            at_once: Queries of a group.

        Yields:
            float32 (q, K), which may be written to, and is, with the next group; and float32 (q, N).
        """
        embeddings_QC, features_CK = self.embeddings_QC.detach().float(), self.features_CK.detach()
        products_QN = embeddings_QC @ (features_CK @ targets_NK.T)
        memory_qK = features_CK.new_empty(min(at_once, len(embeddings_QC)), features_CK.shape[1])
        groups = (torch.split(of_queries, at_once) for of_queries in (embeddings_QC, products_QN))
        for group_qC, products_qN in zip(*groups, strict=True):
            yield torch.mm(group_qC, features_CK, out=memory_qK[: len(group_qC)]), products_qN


def values_at(output: FactoredOutput, image: int, points_K2: Tensor) -> list[MaskValues]:
    """The masks of one image at points, a MaskValues for each layer, the first layer's first.

    Args:
        output: What the model predicts for all images.
        image: Index of the image.
        points_K2: float32, (x, y) in [0, 1].
    """
    features_CK = sample_planes(output.features_BChw[image], points_K2)
    return [MaskValues(embeddings_BQC[image], features_CK) for embeddings_BQC in output.embeddings_LBQC]

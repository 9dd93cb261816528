"""The masks that an image's queries predict, at points: of an output that is multiplied out, and of one that is not.

Axes: L layers, Q queries, q some of them, N targets, C channels, K points, h w cells of a prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.models.points import sample_planes
from training.samples import FactoredOutput, Output


class MaskValues(Protocol):
    """The mask logits of one image and one layer at points that were chosen before."""

    def of(self, query_q: Tensor) -> Tensor:
        """The logits of some queries.

        Args:
            query_q: int64: which.

        Returns:
            float32 (q, K); gradients reach the predictions.
        """
        ...

    def groups(self, targets_NK: Tensor, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The logits of all queries without gradients, some queries at a time, and their products with targets.

        Args:
            targets_NK: float32: the targets' values at the points.
            at_once: Queries of a group.

        Yields:
            float32 (q, K), which may be written to, and is, with the next group; and float32 (q, N).
        """
        ...


@dataclass(frozen=True, eq=False)
class DenseValues:
    """Those of masks that are there.

    Attributes:
        logits_Qhw: The masks.
        points_K2: float32, (x, y) in [0, 1].
    """

    logits_Qhw: Tensor
    points_K2: Tensor

    def of(self, query_q: Tensor) -> Tensor:
        """See :class:`MaskValues`."""
        return sample_planes(self.logits_Qhw[query_q], self.points_K2)

    def groups(self, targets_NK: Tensor, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`MaskValues`."""
        for logits_qhw in torch.split(self.logits_Qhw.detach(), at_once):
            logits_qK = sample_planes(logits_qhw, self.points_K2)
            yield logits_qK, logits_qK @ targets_NK.T


@dataclass(frozen=True, eq=False)
class FactoredValues:
    """Those of masks that are products: features are sampled once for all layers and queries.

    Attributes:
        embeddings_QC: Mask embeddings.
        features_CK: float32: the mask features at the points.
    """

    embeddings_QC: Tensor
    features_CK: Tensor

    def of(self, query_q: Tensor) -> Tensor:
        """See :class:`MaskValues`."""
        return self.embeddings_QC[query_q].float() @ self.features_CK

    def groups(self, targets_NK: Tensor, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See :class:`MaskValues`."""
        embeddings_QC, features_CK = self.embeddings_QC.detach().float(), self.features_CK.detach()
        products_QN = embeddings_QC @ (features_CK @ targets_NK.T)
        memory_qK = features_CK.new_empty(min(at_once, len(embeddings_QC)), features_CK.shape[1])
        groups = (torch.split(of_queries, at_once) for of_queries in (embeddings_QC, products_QN))
        for group_qC, products_qN in zip(*groups, strict=True):
            yield torch.mm(group_qC, features_CK, out=memory_qK[: len(group_qC)]), products_qN


def values_at(output: Output | FactoredOutput, image: int, points_K2: Tensor) -> list[MaskValues]:
    """The masks of one image at points, a MaskValues for each layer, the first layer's first.

    Args:
        output: What the model predicts for all images.
        image: Index of the image.
        points_K2: float32, (x, y) in [0, 1].
    """
    if isinstance(output, FactoredOutput):
        features_CK = sample_planes(output.features_BChw[image], points_K2)
        return [FactoredValues(embeddings_BQC[image], features_CK) for embeddings_BQC in output.embeddings_LBQC]
    layers = [*(aux.mask_logits_BQhw for aux in output.aux), output.mask_logits_BQhw]
    return [DenseValues(logits_BQhw[image], points_K2) for logits_BQhw in layers]

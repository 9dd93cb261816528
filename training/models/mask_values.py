"""The masks that an image's queries predict, at points: of an output that is multiplied out, and of one that is not.

Axes: L layers, Q queries, q some of them, C channels, K points, h w cells of a prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from training.models.points import sample_planes
from training.samples import FactoredOutput, Output


class MaskValues(Protocol):
    """The mask logits of one image and one layer at points that were chosen before."""

    def of(self, queries: slice | Tensor) -> Tensor:
        """The logits of some queries.

        Args:
            queries: A slice, or int64 indices.

        Returns:
            float32 (q, K); gradients reach the predictions.
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

    def of(self, queries: slice | Tensor) -> Tensor:
        """See :class:`MaskValues`."""
        return sample_planes(self.logits_Qhw[queries], self.points_K2)


@dataclass(frozen=True, eq=False)
class FactoredValues:
    """Those of masks that are products: features are sampled once for all layers and queries.

    Attributes:
        embeddings_QC: Mask embeddings.
        features_CK: float32: the mask features at the points.
    """

    embeddings_QC: Tensor
    features_CK: Tensor

    def of(self, queries: slice | Tensor) -> Tensor:
        """See :class:`MaskValues`."""
        return self.embeddings_QC[queries].float() @ self.features_CK


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

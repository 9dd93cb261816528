"""The masks of a factored output, multiplied out: what published code predicts and compares."""

from __future__ import annotations

from torch import Tensor

from training.samples import FactoredOutput


def dense_masks(output: FactoredOutput) -> list[Tensor]:
    """Mask logits (B, Q, h, w) of each layer, the last layer's last."""
    features_BCS = output.features_BChw.flatten(2)
    size_hw = output.features_BChw.shape[2:]
    return [(embeddings_BQC @ features_BCS).unflatten(2, size_hw) for embeddings_BQC in output.embeddings_LBQC]

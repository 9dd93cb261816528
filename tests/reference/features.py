"""Drawn features that are smooth as those of photographs are: soft blobs of a few kinds, and noise."""

import numpy as np
from scipy.ndimage import gaussian_filter


def blob_features(size_hw, channels, *, kinds=12, noise=0.5, seed=0):
    """float32 (h, w, C) of unit norm; ``noise`` is its deviation beside kinds of deviation 1."""
    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.standard_normal(size_hw), rng.uniform(3, 8)) for _ in range(kinds)])
    shares = np.exp(3 * fields / fields.std(axis=(1, 2), keepdims=True))
    shares /= shares.sum(axis=0)
    feats_hwC = np.einsum("khw,kc->hwc", shares, rng.standard_normal((kinds, channels)))
    feats_hwC += noise * rng.standard_normal(feats_hwC.shape)
    return (feats_hwC / np.linalg.norm(feats_hwC, axis=2, keepdims=True)).astype(np.float32)

"""From the output of a whole-image model to the masks of an image, in memory that its size hardly changes.

The published way resizes the masks of all queries to the original image as floats and chooses after that: 25 GB for
2,000 queries and 1500 x 2250 pixels. Here queries are chosen by their class first, which is the order of Mask2Former's
own inference (Cheng et al. 2022), then multiplied out a few at a time at the cells of the prediction, and traced one by
one. Masks and scores are equal, but for the rounding of floats.

Axes: Q queries, N those chosen, n some of these, C channels, S h w cells of the prediction, H W pixels of the original
image, P pixels of a mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dico.masks import MaskSet
from dico.rle import encode_counts
from dico.selection import suppress
from training.config import InferenceConfig
from training.postprocess.tracing import Tracer, resize_twice
from training.samples import OBJECT, FactoredOutput

CHUNK_BYTES = 64_000_000
"""Logits that are multiplied out at a time; there are two copies of them, and on a GPU a third."""
TRACING_BYTES = 400_000_000
"""What threads may hold together; each needs room for a mask as large as the image."""
SOURCE = "whole_image"
"""What the masks say of where they come from."""


@dataclass(frozen=True)
class Frame:
    """What a network saw of an image.

    Attributes:
        padded_hw: Height and width of its input in pixels.
        unpadded_hw: Those of the resized image in the upper left corner of it.
        original_hw: Those of the image in its file.
    """

    padded_hw: tuple[int, int]
    unpadded_hw: tuple[int, int]
    original_hw: tuple[int, int]


@torch.no_grad()
def masks_of_output(
    output: FactoredOutput, frame: Frame, config: InferenceConfig, *, image: int = 0, threads: int = 1
) -> MaskSet:
    """The masks of one image.

    The score of a mask is the probability of "object" times the mean probability of the foreground at its pixels, and
    its pixels are those whose logit is above 0. A query whose mask is empty gives none.

    Args:
        output: What the model predicts, on any device and in any precision; the last layer is taken.
        frame: The sizes of the image.
        config: How many masks are kept, and which.
        image: Which image of the output.
        threads: Masks that are traced at the same time, fewer where the image is large; what comes out does not depend
            on it.

    Returns:
        At most ``config.max_masks`` masks of ``frame.original_hw``, by falling score, of equal ones the earlier query
        first; all of level 0, without parents.

    Raises:
        ValueError: when the frame does not fit the output, or scores are not finite.
    """
    probability_Q = output.class_logits_LBQ2[-1, image].float().softmax(dim=-1)[:, OBJECT].cpu().numpy()
    if not np.isfinite(probability_Q).all():
        raise ValueError("scores must be finite, got NaN: the network's weights or its precision are not good")
    chosen_N = _best(probability_Q, config)
    axes = [
        resize_twice(*sizes)
        for sizes in zip(
            output.features_BChw.shape[2:], frame.padded_hw, frame.unpadded_hw, frame.original_hw, strict=True
        )
    ]
    fitting = max(1, TRACING_BYTES // (4 * frame.original_hw[0] * frame.original_hw[1]))
    tracers = [Tracer(axes[0], axes[1]) for _ in range(min(threads, fitting, len(chosen_N)))]
    embeddings_NC = output.embeddings_LBQC[-1, image][torch.from_numpy(chosen_N).to(output.embeddings_LBQC.device)]
    found = list(_traced(embeddings_NC, output.features_BChw[image], tracers, config.min_area_px))
    kept_N = np.array([rle is not None for rle, _ in found], dtype=bool)
    score_N = probability_Q[chosen_N] * np.array([mean for _, mean in found], dtype=np.float32)
    kept = np.flatnonzero(kept_N & (score_N >= config.min_score))
    kept = kept[np.argsort(-score_N[kept], kind="stable")]
    rles = [rle for n in kept if (rle := found[n][0]) is not None]
    masks = MaskSet.from_rles(frame.original_hw, rles, score=score_N[kept], source=SOURCE)
    return suppress(masks, config.max_iou) if config.max_iou < 1 else masks


def _best(probability_Q: NDArray[np.float32], config: InferenceConfig) -> NDArray[np.int64]:
    """Queries that can give a mask, rising: no score is above the probability of its class."""
    best_first = np.argsort(-probability_Q, kind="stable")[: config.max_masks]
    return np.sort(best_first[probability_Q[best_first] >= config.min_score])


def _traced(
    embeddings_NC: Tensor, features_Chw: Tensor, tracers: list[Tracer], min_area_px: int
) -> Iterator[tuple[bytes | None, float]]:
    """Yields the code of each mask, None for one that is too small, and its mean probability of the foreground."""
    h, w = features_Chw.shape[1:]
    features_CS = features_Chw.float().flatten(1)
    count = max(1, CHUNK_BYTES // (4 * h * w))
    with ThreadPoolExecutor(max_workers=max(1, len(tracers))) as pool:
        for start in range(0, len(embeddings_NC), count):
            embeddings_nC = embeddings_NC[start : start + count].float()
            logits_nhw = (embeddings_nC @ features_CS).view(-1, h, w)
            # Column by column, as run lengths are.
            logits_nwh = logits_nhw.transpose(1, 2).contiguous().cpu().numpy()
            shares = [logits_nwh[first :: len(tracers)] for first in range(len(tracers))]
            done = list(pool.map(_trace_all, tracers, shares, [min_area_px] * len(tracers)))
            yield from (done[n % len(tracers)][n // len(tracers)] for n in range(len(logits_nwh)))


def _trace_all(tracer: Tracer, logits_nwh: NDArray[np.float32], min_area_px: int) -> list[tuple[bytes | None, float]]:
    found: list[tuple[bytes | None, float]] = []
    for logits_wh in logits_nwh:
        counts_R, inside_P = tracer.trace(logits_wh)
        if len(inside_P) < max(1, min_area_px):
            found.append((None, 0.0))
        else:
            found.append((encode_counts(counts_R), _mean_probability(inside_P)))
    return found


def _mean_probability(logits_P: NDArray[np.float32]) -> float:
    """The mean of the logistic function of positive logits, which are overwritten: they may be millions."""
    np.negative(logits_P, out=logits_P)
    np.exp(logits_P, out=logits_P)
    logits_P += 1
    np.reciprocal(logits_P, out=logits_P)
    return float(logits_P.mean(dtype=np.float64))

"""From the output of a whole-image model to the masks of an image, in memory that its size hardly changes.

The published way resizes the masks of all queries to the original image as floats and chooses after that: 25 GB for
2,000 queries and 1500 x 2250 pixels. Here queries are chosen by their class first, which is the order of Mask2Former's
own inference (Cheng et al. 2022), then multiplied out a few at a time at the cells of the prediction, and traced one by
one. Masks and scores are equal, but for the rounding of floats.

Axes: Q queries, N those chosen, C channels, h w cells of the prediction, P pixels of a mask.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from dico.masks import MaskSet
from dico.rle import encode_counts
from dico.selection import suppress
from training.config import InferenceConfig
from training.postprocess.frame import Frame
from training.postprocess.products import each_mask, tracers_of
from training.postprocess.tracing import Tracer
from training.samples import OBJECT, FactoredOutput

SOURCE = "whole_image"
"""What the masks say of where they come from."""


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
    features_Chw = output.features_BChw[image]
    cells_hw = (features_Chw.shape[1], features_Chw.shape[2])
    tracers = tracers_of(frame, cells_hw, masks=len(chosen_N), threads=threads)
    embeddings_NC = output.embeddings_LBQC[-1, image][torch.from_numpy(chosen_N).to(output.embeddings_LBQC.device)]
    trace = partial(_trace, min_area_px=config.min_area_px)
    found = list(each_mask(embeddings_NC, features_Chw, tracers, trace))
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


def _trace(tracer: Tracer, logits_wh: NDArray[np.float32], *, min_area_px: int) -> tuple[bytes | None, float]:
    """The code of a mask, None for one that is too small, and its mean probability of the foreground."""
    counts_R, inside_P = tracer.trace(logits_wh)
    if len(inside_P) < max(1, min_area_px):
        return None, 0.0
    return encode_counts(counts_R), _mean_probability(inside_P)


def _mean_probability(logits_P: NDArray[np.float32]) -> float:
    """The mean of the logistic function of positive logits, which are overwritten: they may be millions."""
    np.negative(logits_P, out=logits_P)
    np.exp(logits_P, out=logits_P)
    logits_P += 1
    np.reciprocal(logits_P, out=logits_P)
    return float(logits_P.mean(dtype=np.float64))

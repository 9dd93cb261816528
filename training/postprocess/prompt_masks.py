"""From the output of a promptable model to the masks of an image: traced one by one, as those of the whole-image model.

Axes: P prompts, Q masks of a prompt, N masks of any prompts, h w cells, H W pixels of the original image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dico.masks import MaskSet
from dico.rle import encode_counts
from training.postprocess.frame import Frame
from training.postprocess.products import each_mask, tracers_of
from training.postprocess.tracing import Axis, Tracer
from training.prompts import PromptOutput

SOURCE = "prompt"
"""What the masks say of where they come from."""


@dataclass(frozen=True)
class TracedMask:
    """A mask of the original image.

    Attributes:
        rle: Its compressed run-length code.
        area_px: Its pixels.
        stability: In [0, 1], see :func:`trace_masks`; NaN when it was not asked for.
    """

    rle: bytes
    area_px: int
    stability: float


def trace_masks(
    output: PromptOutput, frame: Frame, chosen_N: Tensor, *, threads: int = 1, offset: float | None = None
) -> list[TracedMask]:
    """Some masks of one image; a pixel belongs to a mask where its logit is above 0.

    The stability of a mask is the IoU of what it would be if logits had to be above ``offset`` and above ``-offset``
    (Kirillov et al. 2023, Segment Anything, Sec. 5): low where a border is anywhere.

    Args:
        output: Of a batch of one image.
        frame: The sizes of the image.
        chosen_N: int64, on the CPU: which masks, numbered prompt by prompt.
        threads: Masks that are traced at the same time.
        offset: Above 0; None for no stability.

    Returns:
        The masks in the order given.

    Raises:
        ValueError: when the frame does not fit the output.
    """
    embeddings_NC = output.embeddings_LBPQC[-1, 0].flatten(0, 1)
    embeddings_NC = embeddings_NC[chosen_N.to(embeddings_NC.device)]
    features_Chw = output.features_BChw[0]
    cells_hw = (features_Chw.shape[1], features_Chw.shape[2])
    tracers = tracers_of(frame, cells_hw, masks=len(chosen_N), threads=threads)
    return list(each_mask(embeddings_NC, features_Chw, tracers, partial(_trace, offset=offset)))


def masks_of_prompts(output: PromptOutput, frame: Frame, *, threads: int = 1) -> Iterator[MaskSet]:
    """The masks of each prompt, by rising area; of equal ones the one of the earlier query first.

    Args:
        output: Of a batch of one image.
        frame: The sizes of the image.
        threads: Masks that are traced at the same time.

    Yields:
        Q masks of ``frame.original_hw`` for each prompt, empty ones among them. Scores are predicted IoUs, levels count
        from the largest, and for theta see :func:`theta_of_area`.

    Raises:
        ValueError: when predicted IoUs are not finite, or the frame does not fit the output.
    """
    iou_PQ = predicted_ious(output)
    P, Q = iou_PQ.shape
    traced = trace_masks(output, frame, torch.arange(P * Q), threads=threads)
    for p in range(P):
        rles = [mask.rle for mask in traced[p * Q : (p + 1) * Q]]
        yield from_part_to_whole(MaskSet.from_rles(frame.original_hw, rles, score=iou_PQ[p], source=SOURCE))


def from_part_to_whole(masks: MaskSet) -> MaskSet:
    """The masks of a prompt by rising area, of equal ones the earlier first.

    Args:
        masks: In any order.

    Returns:
        The same masks and scores. Their levels count from the largest; for theta see :func:`theta_of_area`.

    Example:
        >>> ordered = from_part_to_whole(MaskSet.from_arrays(np.stack([np.ones((4, 4)), np.eye(4)])))
        >>> ordered.area_px.tolist(), ordered.level.tolist(), ordered.theta.tolist()
        ([4, 16], [1, 0], [0.5, 0.0])
    """
    area_N = masks.area_px
    order_N = np.argsort(area_N, kind="stable")
    level_N, theta_N = np.arange(len(masks))[::-1], theta_of_area(area_N[order_N], masks.size_hw)
    return masks[order_N].with_fields(level=level_N, theta=theta_N)


def predicted_ious(output: PromptOutput) -> NDArray[np.float32]:
    """float32 (P, Q): those of the last layer.

    Raises:
        ValueError: when one is not finite.
    """
    iou_PQ: NDArray[np.float32] = output.ious_LBPQ[-1, 0].float().cpu().numpy()
    if not np.isfinite(iou_PQ).all():
        raise ValueError("predicted IoUs must be finite, got NaN: the network's weights or its precision are not good")
    return iou_PQ


def theta_of_area(area_N: NDArray[np.int64], size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """How fine masks are: 0 for all of the image, 1 for a pixel, and even steps for areas that double.

    Args:
        area_N: In pixels.
        size_hw: Of the image.

    Returns:
        float64 in [0, 1]; 1 for an empty mask.

    Example:
        >>> theta_of_area(np.array([10_000, 100, 1, 0]), (100, 100)).tolist()
        [0.0, 0.5, 1.0, 1.0]
    """
    whole = math.log(size_hw[0] * size_hw[1])
    theta_N = 1 - np.log(np.maximum(area_N, 1)) / whole if whole else np.zeros(len(area_N))
    return np.clip(theta_N, 0, 1)


def logits_of_prompt(output: PromptOutput, frame: Frame, prompt: int) -> NDArray[np.float32]:
    """The logits of the masks of one prompt, in the order of :func:`masks_of_prompts`.

    Args:
        output: Of a batch of one image.
        frame: The sizes of the image.
        prompt: Which prompt.

    Returns:
        float32 (Q, H, W).
    """
    features_Chw = output.features_BChw[0].float()
    products_QS = output.embeddings_LBPQC[-1, 0, prompt].float() @ features_Chw.flatten(1)
    logits_Qhw = products_QS.view(-1, *features_Chw.shape[1:]).cpu().numpy()
    axes = frame.axes((logits_Qhw.shape[1], logits_Qhw.shape[2]))
    logits_QHW = np.stack([dense_logits(logits_hw, *axes) for logits_hw in logits_Qhw])
    order_Q = np.argsort(np.count_nonzero(logits_QHW > 0, axis=(1, 2)), kind="stable")
    ordered_QHW: NDArray[np.float32] = logits_QHW[order_Q]
    return ordered_QHW


def dense_logits(logits_hw: NDArray[np.float32], rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """Logits at every pixel of the original image; above 0 exactly where :class:`Tracer` finds the mask.

    Args:
        logits_hw: float32, at the cells.
        rows: The vertical axis.
        columns: The horizontal axis.

    Returns:
        float32 (H, W).
    """
    # Sums in the tracer's order, so that no pixel is rounded to the other side of 0.
    a, b, c = columns.weights_YT.T
    first, second, third = columns.cells_YT.T
    logits_hW = a * logits_hw[:, first] + b * logits_hw[:, second] + c * logits_hw[:, third]
    upper, centre, lower = rows.cells_YT.T
    of_upper, of_centre, of_lower = rows.weights_YT.T[:, :, None]
    logits_HW: NDArray[np.float32] = (
        of_upper * logits_hW[upper] + of_centre * logits_hW[centre] + of_lower * logits_hW[lower]
    )
    return logits_HW


def _trace(tracer: Tracer, logits_wh: NDArray[np.float32], *, offset: float | None) -> TracedMask:
    stability = math.nan
    if offset is not None:
        _, inside_P = tracer.trace(logits_wh + np.float32(offset))
        below, above = len(inside_P), int(np.count_nonzero(inside_P > 2 * offset))
        stability = above / below if below else 0.0
    counts_R, inside_P = tracer.trace(logits_wh)
    return TracedMask(encode_counts(counts_R), len(inside_P), stability)

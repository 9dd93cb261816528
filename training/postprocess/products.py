"""Masks as products of embeddings and features: a few at a time, each given to a tracer, in several threads.

Axes: N masks, n some of them, C channels, h w cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.postprocess.frame import Frame
from training.postprocess.tracing import Tracer

CHUNK_BYTES = 64_000_000
"""Logits that are multiplied out at a time; there are two copies of them, and on a GPU a third."""
TRACING_BYTES = 400_000_000
"""What threads may hold together; each needs room for a mask as large as the image."""

T = TypeVar("T")
Make = Callable[[Tracer, NDArray[np.float32]], T]
"""What is made of the logits of a mask, float32 (w, h): column by column, as run lengths are."""


def tracers_of(frame: Frame, cells_hw: tuple[int, int], *, masks: int, threads: int) -> list[Tracer]:
    """A tracer for each thread.

    Args:
        frame: The sizes of the image.
        cells_hw: Height and width of a prediction.
        masks: How many there are to trace.
        threads: At most so many; fewer where the image is large.

    Raises:
        ValueError: when the frame does not fit the cells.
    """
    axes = frame.axes(cells_hw)
    fitting = max(1, TRACING_BYTES // (4 * frame.original_hw[0] * frame.original_hw[1]))
    return [Tracer(*axes) for _ in range(min(threads, fitting, masks))]


def each_mask(embeddings_NC: Tensor, features_Chw: Tensor, tracers: Sequence[Tracer], make: Make[T]) -> Iterator[T]:
    """What is made of each mask, in order.

    Args:
        embeddings_NC: Float, on any device.
        features_Chw: Float, likewise; logits are their products, in float32.
        tracers: One for each thread; at least one where there are masks.
        make: Makes it of logits with a tracer.

    Yields:
        What was made, N times.
    """
    h, w = features_Chw.shape[1:]
    features_CS = features_Chw.float().flatten(1)
    count = max(1, CHUNK_BYTES // (4 * h * w))
    with ThreadPoolExecutor(max_workers=max(1, len(tracers))) as pool:
        for start in range(0, len(embeddings_NC), count):
            embeddings_nC = embeddings_NC[start : start + count].float()
            logits_nhw = (embeddings_nC @ features_CS).view(-1, h, w)
            logits_nwh = logits_nhw.transpose(1, 2).contiguous().cpu().numpy()
            shares = [logits_nwh[first :: len(tracers)] for first in range(len(tracers))]
            done = list(pool.map(_make_all, [make] * len(tracers), tracers, shares))
            yield from (done[n % len(tracers)][n // len(tracers)] for n in range(len(logits_nwh)))


def _make_all(make: Make[T], tracer: Tracer, logits_nwh: NDArray[np.float32]) -> list[T]:
    return [make(tracer, logits_wh) for logits_wh in logits_nwh]

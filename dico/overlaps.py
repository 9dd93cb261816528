"""Which masks overlap which ground truths enough, from their run-length codes, without comparing every pair.

Two masks overlap no more than their boxes do, and no more than the smaller of them: that rules out nearly every pair,
exactly, before any run is looked at.

Axes: N masks; K runs of all of them; D detected masks; G ground truths; P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dico.matching import Pairs
from dico.rle import decode_into, run_ends


class MaskRuns(NamedTuple):
    """The runs of the masks of one image, with their areas and boxes.

    Attributes:
        first_N: int64 (N + 1,): where the runs of each mask begin in K, and K.
        start_K: int64 (K,): the pixel at which each run begins, column-major; no run is empty.
        end_K: int64 (K,): the pixel after its last one.
        area_N: int64 (N,): pixels of each mask.
        box_N4: int64 (N, 4): half-open x0, y0, x1, y1; zeros for a mask without pixels.
    """

    first_N: NDArray[np.int64]
    start_K: NDArray[np.int64]
    end_K: NDArray[np.int64]
    area_N: NDArray[np.int64]
    box_N4: NDArray[np.int64]

    @classmethod
    def of(cls, rles: Sequence[bytes], size_hw: tuple[int, int]) -> MaskRuns:
        """The runs of N compressed codes.

        Raises:
            ValueError: when one is not the code of a mask of ``size_hw``.

        Example:
            >>> MaskRuns.of([b"123"], (2, 3)).box_N4.tolist()  # pixels 1 and 2: a run over the end of a column
            [[0, 0, 2, 2]]
        """
        codes = np.frombuffer(b"".join(rles), dtype=np.uint8)
        last_N = np.cumsum([len(rle) for rle in rles], dtype=np.int64)
        first_N, start_K, end_K, broken = _runs(codes, last_N, size_hw[0] * size_hw[1])
        if broken >= 0:
            run_ends(rles[broken], size_hw)  # says what is wrong with it
        return cls(first_N, start_K, end_K, *_areas_and_boxes(first_N, start_K, end_K, size_hw[0]))


def overlapping_pairs(masks: MaskRuns, truths: MaskRuns, is_crowd_G: NDArray[np.bool_], *, min_overlap: float) -> Pairs:
    """The pairs of a mask and a ground truth that overlap by at least so much.

    The overlap is intersection over union, and of a crowd the share of the mask that lies inside it; to the last bit
    what ``pycocotools.mask.iou`` says.

    Args:
        masks: D masks, best first.
        truths: G ground truths of the same image.
        is_crowd_G: bool (G,).
        min_overlap: Above 0.
    """
    first_D, truth_P, overlap_P = _pairs(masks, truths, is_crowd_G, min_overlap)
    return Pairs(first_D, truth_P, overlap_P)


@numba.njit(cache=True, nogil=True)
def _runs(
    codes: NDArray[np.uint8], last_N: NDArray[np.int64], n_pixels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """The runs of codes that follow one another, and the index of the first that is broken, or -1."""
    first_N = np.zeros(len(last_N) + 1, dtype=np.int64)
    start_K, end_K = np.empty(len(codes) // 2, dtype=np.int64), np.empty(len(codes) // 2, dtype=np.int64)
    counts = np.empty(len(codes), dtype=np.uint32)
    k = 0
    for n in range(len(last_N)):
        length = decode_into(codes[0 if n == 0 else last_N[n - 1] : last_N[n]], counts)
        pixel = 0
        for run in range(length):
            if run % 2 == 1 and counts[run] > 0:
                start_K[k], end_K[k] = pixel, pixel + counts[run]
                k += 1
            pixel += counts[run]
        if pixel != n_pixels:
            return first_N, start_K, end_K, n
        first_N[n + 1] = k
    return first_N, start_K[:k], end_K[:k], -1


@numba.njit(cache=True, nogil=True)
def _areas_and_boxes(
    first_N: NDArray[np.int64], start_K: NDArray[np.int64], end_K: NDArray[np.int64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    area_N = np.zeros(len(first_N) - 1, dtype=np.int64)
    box_N4 = np.zeros((len(area_N), 4), dtype=np.int64)
    for n in range(len(area_N)):
        for k in range(first_N[n], first_N[n + 1]):
            x0, y0 = divmod(start_K[k], height)
            x1, y1 = divmod(end_K[k] - 1, height)
            if x1 > x0:  # it holds the end of one column and the beginning of the next
                y0, y1 = 0, height - 1
            if area_N[n] == 0:
                box_N4[n] = x0, y0, x1 + 1, y1 + 1
            else:
                box_N4[n, 1] = min(box_N4[n, 1], y0)
                box_N4[n, 2] = x1 + 1
                box_N4[n, 3] = max(box_N4[n, 3], y1 + 1)
            area_N[n] += end_K[k] - start_K[k]
    return area_N, box_N4


@numba.njit(cache=True, nogil=True)
def _pairs(
    masks: MaskRuns, truths: MaskRuns, is_crowd_G: NDArray[np.bool_], min_overlap: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    first_D = np.zeros(len(masks.area_N) + 1, dtype=np.int64)
    truth_P, overlap_P = np.empty(256, dtype=np.int64), np.empty(256)
    n_pairs = 0
    for d in range(len(masks.area_N)):
        area, box = masks.area_N[d], masks.box_N4[d]
        for g in range(len(truths.area_N)):
            truth_area, truth_box = truths.area_N[g], truths.box_N4[g]
            width = min(box[2], truth_box[2]) - max(box[0], truth_box[0])
            height = min(box[3], truth_box[3]) - max(box[1], truth_box[1])
            if width <= 0 or height <= 0:
                continue
            most = min(width * height, area, truth_area)
            if most / (area if is_crowd_G[g] else area + truth_area - most) < min_overlap:
                continue
            shared = _shared(masks, d, truths, g)
            overlap = shared / (area if is_crowd_G[g] else area + truth_area - shared)
            if overlap < min_overlap:
                continue
            if n_pairs == len(truth_P):
                truth_P = np.concatenate((truth_P, np.empty_like(truth_P)))
                overlap_P = np.concatenate((overlap_P, np.empty_like(overlap_P)))
            truth_P[n_pairs], overlap_P[n_pairs] = g, overlap
            n_pairs += 1
        first_D[d + 1] = n_pairs
    return first_D, truth_P[:n_pairs], overlap_P[:n_pairs]


@numba.njit(cache=True, nogil=True)
def _shared(masks: MaskRuns, d: int, truths: MaskRuns, g: int) -> int:
    """How many pixels mask d and ground truth g share."""
    k, last_k = masks.first_N[d], masks.first_N[d + 1]
    j, last_j = truths.first_N[g], truths.first_N[g + 1]
    shared = 0
    while k < last_k and j < last_j:
        end, truth_end = masks.end_K[k], truths.end_K[j]
        shared += max(0, min(end, truth_end) - max(masks.start_K[k], truths.start_K[j]))
        if end < truth_end:
            k += 1
        else:
            j += 1
    return shared

"""Label maps as masks: run-length codes of regions, at image size, from a map at any resolution; nothing dense is made.

Axes: h w cells of the label map, H W pixels of the image, N labels, K sets of labels, P runs of equal label in the
map's columns.
"""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from dico.rle import encode_counts, nearest_source
from dico.window import Box


def rles_of_labels(labels_HW: NDArray[np.integer], num_labels: int) -> list[bytes]:
    """The masks of the labels of a map, each at the map's own size.

    Args:
        labels_HW: (H, W), values below ``num_labels``; negative cells belong to no label.
        num_labels: N.

    Returns:
        N compressed COCO codes; a label that does not occur has an empty mask.

    Raises:
        ValueError: as :func:`rles_of_nodes`.

    Example:
        >>> from dico.mask_codes import decode_mask
        >>> rles = rles_of_labels(np.array([[0, 1], [1, 1]]), 2)
        >>> [decode_mask((2, 2), rle).astype(int).tolist() for rle in rles]
        [[[1, 0], [0, 0]], [[0, 1], [1, 1]]]
    """
    return rles_of_nodes(labels_HW, np.arange(num_labels + 1), np.arange(num_labels), labels_HW.shape)


def rles_of_nodes(
    labels_hw: NDArray[np.integer],
    indptr: NDArray[np.integer],
    labels: NDArray[np.integer],
    size_hw: tuple[int, ...],
    *,
    box_xyxy: Box | None = None,
) -> list[bytes]:
    """The masks of sets of labels: each the union of its labels' cells, resized by taking the nearest cell.

    The cost is that of the runs in the columns a set spans: the thousands of nodes of a merge tree take milliseconds,
    in the memory of their codes and one mask's runs.

    Args:
        labels_hw: (h, w), which label each cell has; negative cells belong to no set.
        indptr: (K + 1,), rising: set k holds ``labels[indptr[k]:indptr[k + 1]]``. ``MergeTree.members`` gives both.
        labels: The labels of all sets, one set after the other.
        size_hw: Height and width of the image in pixels.
        box_xyxy: The half-open box of the image that the map covers; None for all of it.

    Returns:
        K compressed COCO codes of masks of ``size_hw``.

    Raises:
        ValueError: when the map is not two-dimensional or empty, the box is empty or leaves the image, ``indptr`` does
            not fit ``labels``, or one of these is negative.

    Example:
        >>> from dico.mask_codes import decode_mask
        >>> labels_hw = np.array([[0, 1, 2]])
        >>> (rle,) = rles_of_nodes(labels_hw, np.array([0, 2]), np.array([0, 2]), (2, 6))
        >>> decode_mask((2, 6), rle).astype(int).tolist()
        [[1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1]]
    """
    height, width = size_hw
    x0, y0, x1, y1 = (0, 0, width, height) if box_xyxy is None else box_xyxy
    if labels_hw.ndim != 2 or not labels_hw.size:
        raise ValueError(f"labels_hw must have two axes and a cell, got shape {labels_hw.shape}")
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise ValueError(f"box_xyxy must lie in the {width}x{height} image and not be empty, got {(x0, y0, x1, y1)}")
    if not len(indptr) or indptr[0] != 0 or indptr[-1] != len(labels) or (np.diff(indptr) < 0).any():
        raise ValueError(f"indptr must rise from 0 to the number of labels ({len(labels)}), got {indptr}")
    if labels.min(initial=0) < 0:
        raise ValueError(f"labels must be at least 0, got {labels.min()}")

    members_of_all = np.ascontiguousarray(labels, dtype=np.int32)
    num_labels = 1 + max(int(labels_hw.max()), int(members_of_all.max(initial=-1)))
    # Pixel rows above the upper border of each row of cells; the pixel columns of each column of cells likewise.
    rows_above = np.searchsorted(nearest_source(labels_hw.shape[0], y1 - y0), np.arange(labels_hw.shape[0] + 1))
    columns_before = np.searchsorted(nearest_source(labels_hw.shape[1], x1 - x0), np.arange(labels_hw.shape[1] + 1))
    labels_wh = np.ascontiguousarray(labels_hw.T, dtype=np.int32)
    first_w, label_P, rows_P, span_N2 = _column_runs(labels_wh, rows_above, num_labels)
    inside_N = np.zeros(num_labels, dtype=np.bool_)
    rles = []
    for start, stop in pairwise(indptr):
        members = members_of_all[start:stop]
        inside_N[members] = True
        counts = _counts(
            members, inside_N, span_N2, first_w, label_P, rows_P, x0 + columns_before, (y0, height - y1), height * width
        )
        inside_N[members] = False
        rles.append(encode_counts(counts))
    return rles


@numba.njit(cache=True)
def _column_runs(
    labels_wh: NDArray[np.int32], rows_above: NDArray[np.int64], num_labels: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]]:
    """Runs in pixel rows: column j has those from ``first_w[j]`` to ``first_w[j + 1]``; and each label's columns."""
    width, height = labels_wh.shape
    first_w = np.zeros(width + 1, dtype=np.int64)
    for j in range(width):
        runs = 1
        for i in range(1, height):
            runs += labels_wh[j, i] != labels_wh[j, i - 1]
        first_w[j + 1] = first_w[j] + runs
    label_P, rows_P = np.empty(first_w[-1], dtype=np.int32), np.empty(first_w[-1], dtype=np.uint32)
    span_N2 = np.empty((num_labels, 2), dtype=np.int32)  # half-open
    span_N2[:, 0], span_N2[:, 1] = width, 0
    p = 0
    for j in range(width):
        start = 0
        for i in range(1, height + 1):
            if i < height and labels_wh[j, i] == labels_wh[j, start]:
                continue
            label = labels_wh[j, start]
            label_P[p] = label
            rows_P[p] = rows_above[i] - rows_above[start]
            if label >= 0:
                span_N2[label, 0], span_N2[label, 1] = min(span_N2[label, 0], j), j + 1
            start = i
            p += 1
    return first_w, label_P, rows_P, span_N2


@numba.njit(cache=True)
def _counts(
    members: NDArray[np.int32],
    inside_N: NDArray[np.bool_],
    span_N2: NDArray[np.int32],
    first_w: NDArray[np.int64],
    label_P: NDArray[np.int32],
    rows_P: NDArray[np.uint32],
    columns_before: NDArray[np.int64],
    margins: tuple[int, int],
    area_px: int,
) -> NDArray[np.uint32]:
    """The run lengths of one mask: the pixel columns its labels span, between margins above and below."""
    left, right = len(columns_before) - 1, 0
    for label in members:
        left, right = min(left, span_N2[label, 0]), max(right, span_N2[label, 1])
    capacity = 2
    for j in range(left, right):
        capacity += (columns_before[j + 1] - columns_before[j]) * (first_w[j + 1] - first_w[j] + 1)
    counts = np.zeros(capacity, dtype=np.uint32)
    height = margins[0] + margins[1] + np.sum(rows_P[first_w[0] : first_w[1]])
    before_px = columns_before[left] * height if left < right else 0
    after_px = area_px - columns_before[right] * height if left < right else area_px
    counts[0] = before_px
    at = 0  # the run being written; its parity is its value
    for j in range(left, right):
        for _ in range(columns_before[j], columns_before[j + 1]):
            at += at & int(margins[0] > 0)
            counts[at] += margins[0]
            for p in range(first_w[j], first_w[j + 1]):
                if rows_P[p]:
                    at += (at & 1) ^ int(label_P[p] >= 0 and inside_N[label_P[p]])
                    counts[at] += rows_P[p]
            at += at & int(margins[1] > 0)
            counts[at] += margins[1]
    at += at & int(after_px > 0)
    counts[at] += after_px
    return counts[: at + 1]

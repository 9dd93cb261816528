"""Run-length codes as arrays: what pycocotools does not offer without decoding a mask at its full size.

A mask is read column by column, top to bottom; ``counts`` are the lengths of its runs in that order, beginning with a
run (perhaps of length 0) of background. The compressed code is COCO's: each count, from the fourth on as the difference
from the one two before it, in groups of five bits.

Axes: N masks, R runs of a mask, K single pixels, H W pixels of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numba
import numpy as np
from numpy.typing import NDArray

_LONGEST_CODE = 7  # bytes that the difference of two 32-bit counts can take


def encode_counts(counts: NDArray[np.uint32]) -> bytes:
    """The compressed COCO code of run lengths; what ``pycocotools.mask.frPyObjects`` gives for the same counts.

    Args:
        counts: uint32 (R,): lengths of the runs, background first, column-major; their sum is H x W.

    Returns:
        The ``counts`` bytes of a compressed code.

    Example:
        >>> encode_counts(np.array([2, 3, 1], dtype=np.uint32))
        b'231'
    """
    code = np.empty(_LONGEST_CODE * len(counts), dtype=np.uint8)
    length = _encode(np.ascontiguousarray(counts, dtype=np.uint32), code)
    return code[:length].tobytes()


def decode_counts(rle: bytes) -> NDArray[np.uint32]:
    """The run lengths of a compressed COCO code.

    Args:
        rle: The ``counts`` bytes of a compressed code.

    Returns:
        uint32 (R,): lengths of the runs, background first, column-major.

    Raises:
        ValueError: when ``rle`` ends within a number or holds a character that no code has.

    Example:
        >>> decode_counts(b"231").tolist()
        [2, 3, 1]
    """
    counts = np.empty(len(rle), dtype=np.uint32)
    length = decode_into(np.frombuffer(rle, dtype=np.uint8), counts)
    if length < 0:
        raise ValueError(f"rle must be a compressed COCO code, got {rle[:40]!r} of {len(rle)} bytes")
    return counts[:length].copy()


def run_ends(rle: bytes, size_hw: tuple[int, int]) -> NDArray[np.int64]:
    """int64 (R,): where each run ends, column-major; the last entry is H x W, and odd runs are the mask.

    Raises:
        ValueError: when ``rle`` is not the code of a mask of ``size_hw``.
    """
    ends_R = np.cumsum(decode_counts(rle), dtype=np.int64)
    if not len(ends_R) or ends_R[-1] != size_hw[0] * size_hw[1]:
        covered = ends_R[-1] if len(ends_R) else 0
        raise ValueError(f"rle must cover the pixels of an image of (H, W) = {size_hw}, got {covered} pixels")
    return ends_R


def masks_at(
    rles: Sequence[bytes], size_hw: tuple[int, int], x_K: NDArray[np.int64], y_K: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which masks have which pixels; no mask is decoded.

    Args:
        rles: N compressed codes of masks of ``size_hw``.
        size_hw: Height and width in pixels.
        x_K: int64: columns, from 0.
        y_K: int64: rows, from 0.

    Returns:
        bool (N, K).

    Raises:
        ValueError: when a pixel is not in the image, or a code is not of a mask of ``size_hw``.

    Example:
        >>> from dico.mask_codes import encode_mask
        >>> masks_at([encode_mask(np.eye(2, 3))], (2, 3), np.array([1, 2]), np.array([1, 0])).tolist()
        [[True, False]]
    """
    height, width = size_hw
    if not ((x_K >= 0) & (x_K < width) & (y_K >= 0) & (y_K < height)).all():
        raise ValueError(f"pixels must lie in an image of (H, W) = {size_hw}, got x {x_K.tolist()}, y {y_K.tolist()}")
    inside_NK = np.zeros((len(rles), len(x_K)), dtype=bool)
    for inside_K, rle in zip(inside_NK, rles, strict=True):
        inside_K[:] = np.searchsorted(run_ends(rle, size_hw), x_K * height + y_K, side="right") % 2 == 1
    return inside_NK


def nearest_source(n_from: int, n_to: int) -> NDArray[np.int64]:
    """int64 (n_to,): which of ``n_from`` pixels lies nearest to each of ``n_to``; non-decreasing, exact integers.

    Example:
        >>> nearest_source(2, 5).tolist(), nearest_source(5, 2).tolist()
        ([0, 0, 1, 1, 1], [1, 3])
    """
    return (2 * np.arange(n_to, dtype=np.int64) + 1) * n_from // (2 * n_to)


def resize_rles(rles: Iterable[bytes], from_hw: tuple[int, int], to_hw: tuple[int, int]) -> tuple[bytes, ...]:
    """Masks resized by taking the nearest pixel, run by run; no mask is decoded.

    Args:
        rles: Compressed codes of masks of ``from_hw``.
        from_hw: Height and width they have, in pixels.
        to_hw: Height and width they get, in pixels.

    Returns:
        Compressed codes of masks of ``to_hw``, in order.

    Raises:
        ValueError: when a size is not positive or a code is not of a mask of ``from_hw``.

    Example:
        >>> from dico.mask_codes import decode_mask, encode_mask
        >>> decode_mask((2, 4), resize_rles([encode_mask(np.array([[0, 1]]))], (1, 2), (2, 4))[0]).astype(int).tolist()
        [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if min(*from_hw, *to_hw) < 1:
        raise ValueError(f"from_hw and to_hw must be positive, got {from_hw} and {to_hw}")
    columns_w = nearest_source(from_hw[1], to_hw[1])
    # How many rows of the result lie above each row border of the source.
    rows_above = np.searchsorted(nearest_source(from_hw[0], to_hw[0]), np.arange(from_hw[0] + 1))
    return tuple(encode_counts(_resize(run_ends(rle, from_hw), from_hw[0], columns_w, rows_above)) for rle in rles)


@numba.njit(cache=True, nogil=True)
def counts_of_borders(borders: NDArray[np.int64], total: int) -> NDArray[np.uint32]:
    """The run lengths of a mask that begins, ends, begins again ... at given pixels.

    Args:
        borders: int64, strictly rising, an even number of them: where runs of the mask begin and end, column-major.
        total: H x W.

    Returns:
        uint32 (R,), background first.

    Example:
        >>> counts_of_borders(np.array([2, 5]), 6).tolist(), counts_of_borders(np.array([2, 6]), 6).tolist()
        ([2, 3, 1], [2, 4])
    """
    counts = np.empty(len(borders) + 1, dtype=np.uint32)
    start = 0
    for i in range(len(borders)):
        counts[i] = borders[i] - start
        start = borders[i]
    counts[-1] = total - start
    # A mask that holds the last pixel ends there: a code does not end with an empty run.
    return counts if counts[-1] else counts[:-1]


@numba.njit(cache=True, nogil=True)
def decode_into(code: NDArray[np.uint8], counts: NDArray[np.uint32]) -> int:
    """The run lengths of one compressed code, for compiled code that decodes many.

    Args:
        code: uint8 (C,): the bytes of the code.
        counts: uint32, at least (C,): where the run lengths are written.

    Returns:
        Their number, or -1 when the bytes are not such a code.
    """
    length, value, shift = 0, np.int64(0), 0
    for character in code:
        bits = np.int64(character) - 48
        if bits < 0 or bits > 63 or shift > 30:
            return -1
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= np.int64(1) << shift
        if length > 2:
            value += np.int64(counts[length - 2])
        if value < 0 or value > 0xFFFFFFFF:
            return -1
        counts[length] = value
        length, value, shift = length + 1, np.int64(0), 0
    return length if shift == 0 else -1


@numba.njit(cache=True)
def _encode(counts: NDArray[np.uint32], code: NDArray[np.uint8]) -> int:
    length = 0
    for i in range(len(counts)):
        value = np.int64(counts[i])
        if i > 2:
            value -= np.int64(counts[i - 2])
        more = True
        while more:
            bits = value & 31
            value >>= 5
            # The high bit of the last group is the sign: a group can be the last only when that bit is right.
            more = value != -1 if bits & 16 else value != 0
            code[length] = bits + 48 + (32 if more else 0)
            length += 1
    return length


@numba.njit(cache=True)
def _resize(
    ends_R: NDArray[np.int64], height: int, columns_w: NDArray[np.int64], rows_above: NDArray[np.int64]
) -> NDArray[np.uint32]:
    first_w = np.searchsorted(ends_R, columns_w * height, side="right")
    last_w = np.searchsorted(ends_R, columns_w * height + (height - 1), side="right")
    counts = np.zeros(np.sum(last_w - first_w + 1) + 1, dtype=np.uint32)
    at = 0  # index of the run being written; its parity is its value
    for x in range(len(columns_w)):
        top = columns_w[x] * height
        start = 0
        for run in range(first_w[x], last_w[x] + 1):
            stop = min(ends_R[run] - top, height)
            rows = rows_above[stop] - rows_above[start]
            start = stop
            if rows > 0:
                at += (run ^ at) & 1
                counts[at] += np.uint32(rows)
    return counts[: at + 1]

"""Run-length codes as arrays: what pycocotools does not offer without decoding a mask at its full size.

A mask is read column by column, top to bottom; ``counts`` are the lengths of its runs in that order, beginning with a
run (perhaps of length 0) of background. The compressed code is COCO's: each count, from the fourth on as the difference
from the one two before it, in groups of five bits.
"""

from __future__ import annotations

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
    length = _decode(np.frombuffer(rle, dtype=np.uint8), counts)
    if length < 0:
        raise ValueError(f"rle must be a compressed COCO code, got {rle[:40]!r} of {len(rle)} bytes")
    return counts[:length].copy()


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
def _decode(code: NDArray[np.uint8], counts: NDArray[np.uint32]) -> int:
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

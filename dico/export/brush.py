"""Label Studio's code of a brush mask, which is that of the package rle-pack of thi.ng/umbrella.

A stream of bits: the number of words (32 bits), bits a word less one (5), then four lengths in bits less one (4 each);
then the runs: a 1, which of the four lengths follows (2), the run's length less one in that many bits, the word. The
words are the bytes of an RGBA image, row by row, so a pixel is four equal words, 0 or 255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORD_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)
LONGEST_RUN = 2 ** LENGTH_BITS[-1]


def encode_brush(mask_HW: NDArray[np.bool_]) -> list[int]:
    """The code of a mask, a byte an entry.

    Args:
        mask_HW: bool (H, W).

    Returns:
        Integers from 0 to 255.

    Example:
        >>> encode_brush(np.array([[True, True]]))
        [0, 0, 0, 8, 57, 27, 252, 255, 224]
    """
    pixels = mask_HW.ravel()
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    lengths = 4 * np.diff(np.append(starts, pixels.size))
    header = f"{4 * pixels.size:032b}{WORD_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    runs = zip(lengths.tolist(), pixels[starts].tolist(), strict=True)
    stream = header + "".join(_run(length, 255 * is_mask) for length, is_mask in runs)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _run(length: int, word: int) -> str:
    code = ""
    while length > 0:
        now = min(length, LONGEST_RUN)
        which = next(i for i, bits in enumerate(LENGTH_BITS) if now <= 2**bits)
        code += f"1{which:02b}{now - 1:0{LENGTH_BITS[which]}b}{word:0{WORD_BITS}b}"
        length -= now
    return code

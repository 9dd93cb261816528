"""Label Studio's brush code read bit by bit, literal runs included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode_brush(code: list[int], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask whose four channels the code holds; they must be equal, and 0 or 255."""
    bits = "".join(f"{byte:08b}" for byte in code)
    position = 0

    def read(count: int) -> int:
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    n_words, word_bits = read(32), read(5) + 1
    length_bits = [read(4) + 1 for _ in range(4)]
    words: list[int] = []
    while len(words) < n_words:
        is_run, length = read(1), read(length_bits[read(2)]) + 1
        words += [read(word_bits)] * length if is_run else [read(word_bits) for _ in range(length)]
    channels_HW4 = np.array(words).reshape(*size_hw, 4)
    if not (np.isin(channels_HW4, (0, 255)).all() and (channels_HW4 == channels_HW4[:, :, :1]).all()):
        raise ValueError("the four channels must be equal, and 0 or 255")
    return np.asarray(channels_HW4[:, :, 3] == 255)

"""What is random about data: generators that depend on nothing but the seed, a number and what they are for."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What a generator is for; each has numbers of its own."""

    ORDER = 0
    VIEW = 1
    COLOUR = 2
    MASKS = 3
    POINTS = 4
    PROMPTS = 5
    CORRECTIONS = 6


def generator(seed: int, number: int, purpose: Purpose) -> np.random.Generator:
    """A generator for one purpose at one position, or in one epoch.

    Args:
        seed: At least 0.
        number: The position or the epoch, from 0.
        purpose: What is drawn.
    """
    return np.random.default_rng([purpose, number, seed])


class Order:
    """Which image each position of the endless stream of samples shows: every epoch is a permutation of all.

    Args:
        images: How many there are, at least 1.
        seed: Of the permutations.

    Example:
        >>> order = Order(3, seed=0)
        >>> sorted(order[position] for position in range(3, 6))
        [0, 1, 2]
    """

    def __init__(self, images: int, seed: int) -> None:
        self.images = images
        self.seed = seed
        self._permutations: dict[int, NDArray[np.int32 | np.int64]] = {}

    def __getitem__(self, position: int) -> int:
        epoch, at = divmod(position, self.images)
        if epoch not in self._permutations:
            dtype = np.int32 if self.images < 2**31 else np.int64
            permutation = generator(self.seed, epoch, Purpose.ORDER).permutation(np.arange(self.images, dtype=dtype))
            # A batch may begin in one epoch and end in the next.
            self._permutations = {old: kept for old, kept in self._permutations.items() if abs(old - epoch) == 1}
            self._permutations[epoch] = permutation
        return int(self._permutations[epoch][at])

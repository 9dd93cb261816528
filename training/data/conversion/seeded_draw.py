"""A draw of ids that anyone can repeat in any language: by the SHA-256 of the seed and the id, not by a generator."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable


def rank_of(image_id: int, seed: int) -> str:
    """Where an id comes in the order of a seed: the SHA-256 of ``"<seed>:<id>"`` in hexadecimal digits.

    Example:
        >>> rank_of(7, 0)[:8]
        '2bef8ffb'
    """
    return hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest()


def draw(ids: Iterable[int], count: int, seed: int) -> list[int]:
    """The ids that come first in the order of a seed, in that order.

    Where an id is missing, the next one takes its place, and all others stay: draws from two lists that are nearly the
    same are nearly the same.

    Args:
        ids: Ids, each once.
        count: How many to draw; all of them when there are fewer.
        seed: The seed.

    Example:
        >>> draw(range(1, 10), 3, 0), draw([2, 4, 6, 8, 9], 3, 0)
        ([7, 4, 9], [4, 9, 8])
    """
    return heapq.nsmallest(count, ids, key=lambda image_id: rank_of(image_id, seed))

"""The best of a changing set of edges: a knock-out tournament that is replayed, match by match, where a key changes.

Axes: E edges, t matches of a complete binary tree in arrays (match t has the children 2t and 2t + 1, the root is 1, the
last half are the edges). ``ends_h`` (2E,) holds the two ends of edge e at 2e and 2e + 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray


class Tournament(NamedTuple):
    """Who wins each match, and with what key; changed in place by :func:`replay`.

    Attributes:
        best_t: float32, the key of the winner.
        winner_t: int32, the edge that wins, or -1 where there is none.
    """

    best_t: NDArray[np.float32]
    winner_t: NDArray[np.int32]


@numba.njit(cache=True)
def play(key_E: NDArray[np.float32], exact_E: NDArray[np.bool_], ends_h: NDArray[np.int32]) -> Tournament:
    """The tournament of all edges; the largest key wins, and :func:`_precedes` settles ties."""
    leaves = 1
    while leaves < max(1, len(key_E)):
        leaves *= 2
    best_t = np.full(2 * leaves, -np.inf, dtype=np.float32)
    winner_t = np.full(2 * leaves, -1, dtype=np.int32)
    for e in range(len(key_E)):
        best_t[leaves + e], winner_t[leaves + e] = key_E[e], e
    for t in range(leaves - 1, 0, -1):
        first, second = 2 * t, 2 * t + 1
        tied = best_t[first] == best_t[second]
        if best_t[first] < best_t[second] or (tied and _precedes(winner_t[second], winner_t[first], exact_E, ends_h)):
            first = second
        best_t[t], winner_t[t] = best_t[first], winner_t[first]
    return Tournament(best_t, winner_t)


@numba.njit(cache=True)
def replay(
    tournament: Tournament, edge: int, key: np.float32 | float, exact_E: NDArray[np.bool_], ends_h: NDArray[np.int32]
) -> None:
    """Gives an edge a new key and plays its matches again; a key of minus infinity takes it out."""
    best_t, winner_t = tournament.best_t, tournament.winner_t
    t, best, winner = len(best_t) // 2 + edge, np.float32(key), edge
    best_t[t] = best
    while t > 1:
        rival_best, rival = best_t[t ^ 1], winner_t[t ^ 1]
        if rival_best == best:
            if _precedes(rival, winner, exact_E, ends_h):
                winner = rival
        else:  # two selections, no branch: who wins cannot be predicted
            winner = rival if rival_best > best else winner
            best = max(rival_best, best)
        t >>= 1
        best_t[t], winner_t[t] = best, winner


@numba.njit(cache=True)
def _precedes(e: int, f: int, exact_E: NDArray[np.bool_], ends_h: NDArray[np.int32]) -> bool:
    """Whether edge e goes before f at equal keys: bounds first, which may hide less, then the smaller pair of ends."""
    if e < 0 or f < 0:
        return f < 0
    if exact_E[e] != exact_E[f]:
        return bool(exact_E[f])
    low_e, low_f = min(ends_h[2 * e], ends_h[2 * e + 1]), min(ends_h[2 * f], ends_h[2 * f + 1])
    if low_e != low_f:
        return bool(low_e < low_f)
    return bool(max(ends_h[2 * e], ends_h[2 * e + 1]) < max(ends_h[2 * f], ends_h[2 * f + 1]))

import numpy as np
import pytest

from dico.tournament import play, replay


def best_by_loop(keys, exact, pairs):
    """The edge that must win: largest key, then bounds before values, then the smaller pair; None when all are out."""
    order = sorted(range(len(keys)), key=lambda e: (-keys[e], exact[e], sorted(pairs[e])))
    return order[0] if keys[order[0]] > -np.inf else None


@pytest.mark.parametrize("num_edges", [1, 2, 3, 8, 13])
def test_the_winner_is_that_of_the_loop_after_every_change(num_edges):
    rng = np.random.default_rng(num_edges)
    pairs = np.array([(a, b) for a in range(6) for b in range(a + 1, 6)], dtype=np.int32)
    pairs = rng.permuted(rng.permutation(pairs)[:num_edges], axis=1)
    keys = rng.integers(0, 3, num_edges).astype(np.float32)
    exact = rng.random(num_edges) < 0.5
    tournament = play(keys, exact, pairs.ravel())
    assert tournament.winner_t[1] == best_by_loop(keys, exact, pairs)
    for edge in rng.integers(0, num_edges, 200):
        keys[edge] = rng.choice([-np.inf, 0, 1, 2])
        exact[edge] = rng.random() < 0.5
        replay(tournament, edge, keys[edge], exact, pairs.ravel())
        best = best_by_loop(keys, exact, pairs)
        assert tournament.best_t[1] == keys.max()
        assert best is None or tournament.winner_t[1] == best


def test_no_edges():
    tournament = play(np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, np.int32))
    assert tournament.best_t[1] == -np.inf

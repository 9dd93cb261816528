"""Whether loops were compiled on this machine before: numba keeps them in files, and the first time takes a while."""

from __future__ import annotations

from pathlib import Path

from dico.rle import counts_of_borders


def any_kept() -> bool:
    """Whether a compiled loop of this package is kept where numba looks for them, beside the package or elsewhere."""
    stats = getattr(counts_of_borders, "stats", None)
    if stats is None:  # with NUMBA_DISABLE_JIT nothing is ever compiled
        return True
    # The folder of this loop is that of all loops whose sources are beside its own.
    return stats.cache_path is not None and any(Path(stats.cache_path).glob("*.nbi"))

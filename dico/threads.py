"""One thread a process: more would fight over the cores, and eigenvectors differ in their last bits with the number."""

from __future__ import annotations

import sys
from types import MappingProxyType

from threadpoolctl import threadpool_limits

ENVIRONMENT = MappingProxyType(
    dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "VECLIB_MAXIMUM_THREADS",
            "NUMEXPR_NUM_THREADS",
        ),
        "1",
    )
)
"""What a worker's environment must hold before it imports anything: the pools are made at import."""


def limit_threads() -> None:
    """Holds this process to one thread a library, for life.

    The environment alone is not enough: numpy and scipy each bring a copy of OpenBLAS, and a site may set the variables
    its own way. Libraries imported later follow the environment.
    """
    threadpool_limits(1)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)

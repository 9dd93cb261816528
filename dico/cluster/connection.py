"""Being connected to a cluster for a while, and leaving no trace in the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import exceptions as errors

from dico.cluster.address import REMEDY, check_answers
from dico.cluster.patience import patiently
from dico.cluster.quiet import hushed, kept_environment, kept_signals, silenced
from dico.executors.pool import PoolExecutor

STORE_BYTES = 500_000_000
"""Of shared memory, for a cluster of our own; only features pass through it."""
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextmanager
def connection(address: str | None, num_workers: int | None) -> Iterator[None]:
    """This process is connected to a cluster within the block, and afterwards as it was before."""
    if ray.is_initialized():
        present = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", present):
            raise ValueError(f"this process is connected to the Ray cluster at {present} already, got {address!r}")
        yield
        return
    with hushed(), kept_environment():
        try:
            with kept_signals():
                if address is None:
                    _start_here(num_workers)
                else:
                    _join(address)
            yield
        finally:
            with silenced():
                ray.shutdown()


def _start_here(num_workers: int | None) -> None:
    num_cpus = PoolExecutor(num_workers).num_workers  # as many as cores and memory allow
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **QUIET)


def _join(address: str) -> None:
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if address != "auto":
        check_answers(address)
    doubt = (
        f"no answer from the Ray cluster at {address} yet; its port is that of ray start (6379), not the dashboard's"
    )
    try:
        with patiently(doubt):
            ray.init(address=address, **QUIET)
    except (OSError, RuntimeError, ValueError, errors.RayError) as error:
        raise ConnectionError(f"the Ray cluster at {address} could not be joined ({error}): {REMEDY}") from error

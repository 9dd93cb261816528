"""Being connected to a cluster for a while, and leaving no trace in the process."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray import exceptions as errors

from dico.cluster.quiet import logged_stdout, ray_threads_off_stdout, restored_ray_environment, restored_sigterm
from dico.executors.machine import usable_workers

log = logging.getLogger(__name__)

STORE_BYTES = 500_000_000
"""Of shared memory, for a cluster of our own; only features pass through it."""
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
CONNECT_S = 5.0
"""An address that takes no connection for so long has no cluster. Ray itself tries for several minutes."""
TOKENS = (
    "where it asks for a token, RAY_AUTH_MODE=token must be set, and RAY_AUTH_TOKEN, or ~/.ray/auth_token, be that of"
    " its head; where it asks for none and there is such a file, RAY_AUTH_MODE=disabled"
)
PATIENCE_S = 15.0
"""When joining takes so long, the log says so."""
REMEDY = (
    "`ray start --head` makes a cluster, and `ray start --address=HOST:6379` on each other machine joins it; this one"
    " must be part of it (with --num-cpus=0, if it is not to work). Without an address, a cluster is made here"
)


@contextmanager
def connection(address: str | None, num_workers: int | None) -> Iterator[None]:
    """This process is connected to a cluster within the block, and afterwards as it was before.

    Args:
        address: Of a cluster to join; None makes one.
        num_workers: How many CPUs the new one has; None for as many as cores and memory allow.

    Raises:
        ConnectionError: when the cluster cannot be joined; says what to do.
        ValueError: when this process is connected to another cluster.
    """
    if ray.is_initialized():
        present = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", present):
            raise ValueError(f"this process is connected to the Ray cluster at {present} already, got {address!r}")
        yield
        return
    with ray_threads_off_stdout(), restored_ray_environment():
        try:
            with restored_sigterm():
                if address is None:
                    _start_here(num_workers)
                else:
                    _join(address)
            yield
        finally:
            with logged_stdout():
                ray.shutdown()


def host_port(address: str) -> tuple[str, int]:
    """The parts of an address.

    Raises:
        ValueError: when it has others.

    Example:
        >>> host_port("192.0.2.1:6379")
        ('192.0.2.1', 6379)
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        client = "; Ray Client is not supported: run this on a machine of the cluster" if "://" in address else ""
        raise ValueError(f"the address of a Ray cluster must be local, auto or HOST:PORT, got {address!r}{client}")
    return host.strip("[]"), int(port)


def _start_here(num_workers: int | None) -> None:
    num_cpus = num_workers or usable_workers()
    # Ray asks for a token of whoever connects. Where there is none yet it would leave one in the home folder, and that
    # changes how this user's clusters are started and joined from then on.
    if not (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_TOKEN", _token())
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **QUIET)


@cache
def _token() -> str:
    """One for the life of this process, as Ray reads it once."""
    return secrets.token_hex(32)


def _join(address: str) -> None:
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if address != "auto":
        _check_answers(address)
    waiting = (
        f"no answer from the Ray cluster at {address} yet; its port is that of ray start (6379), not the dashboard's,"
        f" and {TOKENS}"
    )
    timer = threading.Timer(PATIENCE_S, log.warning, ("%s", waiting))
    timer.daemon = True
    timer.start()
    try:
        ray.init(address=address, **QUIET)
    except errors.AuthenticationError as error:
        raise ConnectionError(f"the Ray cluster at {address} could not be joined: {TOKENS}") from error
    except (OSError, RuntimeError, ValueError, errors.RayError) as error:
        raise ConnectionError(f"the Ray cluster at {address} could not be joined ({error}): {REMEDY}") from error
    finally:
        timer.cancel()


def _check_answers(address: str) -> None:
    try:
        socket.create_connection(host_port(address), timeout=CONNECT_S).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {REMEDY}") from error

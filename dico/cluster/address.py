"""Addresses of Ray clusters: what they may look like, and whether anybody is there."""

from __future__ import annotations

import socket

CONNECT_S = 5.0
"""Who does not answer for so long is not there. Ray itself tries for several minutes."""
REMEDY = (
    "`ray start --head` makes a cluster, and `ray start --address=HOST:6379` on each other machine joins it; this one"
    " must be part of it (with --num-cpus=0, if it is not to work). Where it asks for a token, set RAY_AUTH_MODE=token."
    " Without an address, a cluster is made here"
)


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


def listens(host: str, port: int, timeout_s: float = CONNECT_S) -> bool:
    """Whether anybody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def check_answers(address: str) -> None:
    """Raises unless somebody takes connections at an address.

    Raises:
        ConnectionError: says what to do.
        ValueError: when it is no address.
    """
    if not listens(*host_port(address)):
        raise ConnectionError(f"no Ray cluster answers at {address}: {REMEDY}")

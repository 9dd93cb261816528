"""Which version of the package runs."""

from __future__ import annotations

import importlib.metadata


def dico_version() -> str:
    """The installed version; "unknown" where the package is on the path and not installed."""
    try:
        return importlib.metadata.version("divide-and-conquer")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

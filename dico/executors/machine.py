"""What this machine, or the container on it, lets this process use: cores and memory."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
WORKER_BYTES = 1_000_000_000
"""Memory for each worker: one that labels a photograph of 24 megapixels takes 0.55 GB, and larger ones are allowed."""


def usable_workers(root: Path = ROOT) -> int:
    """How many workers this machine has room for, at least 1: one a core, as far as there is memory for them.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    return max(1, min(usable_cpus(root), usable_memory(root) // WORKER_BYTES))


def usable_cpus(root: Path = ROOT) -> int:
    """How many cores this process may keep busy, at least 1.

    Containers and batch systems show all cores of the machine and allow a few: what counts is the affinity of the
    process and the quota of its control group.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota_v2(file) for file in _files(root, "", "cpu.max")]
    quotas += [_quota_v1(file) for file in _files(root, "cpu", "cpu.cfs_quota_us")]
    return max(1, math.floor(min([cpus, *quotas])))


def usable_memory(root: Path = ROOT) -> int:
    """How much memory this process and its children may fill, in bytes: what is free, or less if a limit says so.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """
    limits = [_number(file) for file in _files(root, "", "memory.max")]
    limits += [_number(file) for file in _files(root, "memory", "memory.limit_in_bytes")]
    return int(min([_available(root), *limits]))


def _available(root: Path) -> float:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))  # systems without /proc


def _files(root: Path, controller: str, name: str) -> Iterator[Path]:
    """The files of a name in the control group of this process and in those around it; each of them may set a limit.

    Args:
        root: Where ``proc`` and ``sys`` are.
        controller: Of version 1; empty for version 2, where one hierarchy has all controllers.
        name: Of the file.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        for mount in dict.fromkeys([controllers, controller]):
            top = root / "sys/fs/cgroup" / mount
            # In a container the group may be named as it is outside: then only what lies at the top is there.
            inner = top / group.lstrip("/")
            yield from (folder / name for folder in [inner, *inner.parents] if folder.is_relative_to(top))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _number(file: Path) -> float:
    """The number in a file; infinite where there is no file, or the word ``max``, or -1."""
    text = "".join(_lines(file)).strip()
    return float(text) if text.isdigit() else math.inf


def _quota_v2(file: Path) -> float:
    quota, _, period = "".join(_lines(file)).partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else math.inf


def _quota_v1(file: Path) -> float:
    return _number(file) / _number(file.with_name("cpu.cfs_period_us")) if _number(file) < math.inf else math.inf

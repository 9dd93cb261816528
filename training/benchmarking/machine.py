"""Which machine it is, and what else it was doing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dico.executors.machine import usable_cpus, usable_memory
from dico.version import dico_version

PACKAGES = ("torch", "numpy", "numba", "scipy", "scikit-image", "pillow")
"""What speed depends on most."""
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """What figures depend on beside the code.

    Attributes:
        cpu: Its model.
        cores: That the machine shows, and
        usable_cores: that this process may keep busy.
        memory_gb: Of the machine, and
        usable_memory_gb: what was free, or less if a limit says so.
        gpu: Its name and memory; empty where torch finds none.
        system: Name and release.
        versions: Of Python, of dico, and of the packages that speed depends on; "" for one that is not installed.
        threads: What ``OMP_NUM_THREADS`` says; empty where it is not set.
    """

    cpu: str
    cores: int
    usable_cores: int
    memory_gb: float
    usable_memory_gb: float
    gpu: str
    system: str
    versions: Mapping[str, str]
    threads: str = ""

    def sentence(self) -> str:
        """It in a line."""
        gpu = f", {self.gpu}" if self.gpu else ""
        threads = f", OMP_NUM_THREADS={self.threads}" if self.threads else ""
        versions = ", ".join(f"{name} {version or '-'}" for name, version in self.versions.items())
        cores = f"{self.usable_cores} of {self.cores} cores"
        return f"{self.cpu}, {cores}, {self.memory_gb:.0f} GB{gpu}{threads}, {self.system}; {versions}"


@dataclass(frozen=True)
class Load:
    """How many processes wanted a core, averaged over a minute; None where the system does not tell.

    Attributes:
        start: Before anything was measured.
        end: Afterwards; what was measured is part of it.
    """

    start: float | None
    end: float | None = None

    def warning(self, cores: int) -> str:
        """What the figures suffer from; empty when nothing is known of it.

        Args:
            cores: That this process may keep busy.

        Example:
            >>> Load(1.0).warning(2)[:38], Load(1.0).warning(64)
            ('the machine was at other work before (', '')
        """
        if self.start is None or self.start <= 0.25 * cores:
            return ""
        on = "1 core" if cores == 1 else f"{cores} cores"
        return (
            f"the machine was at other work before (a load of {self.start:.1f} on {on}): times are longer than they "
            "would be on a quiet one"
        )


def this_machine() -> Machine:
    """The machine of this process."""
    versions = {"python": platform.python_version(), "dico": dico_version()}
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cpus(),
        memory_gb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9,
        usable_memory_gb=usable_memory() / 1e9,
        gpu=_gpu(),
        system=f"{platform.system()} {platform.release()}",
        versions={**versions, **{name: _version(name) for name in PACKAGES}},
        threads=os.environ.get("OMP_NUM_THREADS", ""),
    )


def load_average() -> float | None:
    """Processes that want a core, averaged over the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpu() -> str:
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _gpu() -> str:
    if importlib.util.find_spec("torch") is None:
        return ""
    import torch

    if torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return f"{found.name}, {found.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    return "Apple GPU" if sys.platform == "darwin" and torch.backends.mps.is_available() else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""

"""Cores and memory: what limits say, where there are any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from dico.executors.machine import usable_cpus, usable_memory, usable_workers

GIB = 2**30
MANY_CORES = set(range(32))


@pytest.fixture(autouse=True)
def thirty_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: MANY_CORES, raising=False)


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in ({"proc/meminfo": "MemTotal: 99 kB\nMemAvailable: 67108864 kB\n"} | dict(files)).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_this_machine_has_some_of_both():
    assert usable_cpus() >= 1
    assert 2**20 < usable_memory() < 2**60


def test_without_limits_the_affinity_and_what_is_free(tmp_path):
    root = machine(tmp_path, {})
    assert usable_cpus(root) == 32
    assert usable_memory(root) == 64 * GIB


def test_a_machine_that_tells_nothing(tmp_path):
    assert usable_cpus(tmp_path) == 32
    assert usable_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("files", "cpus", "gib"),
    [
        ({"a/b/cpu.max": "400000 100000\n", "a/b/memory.max": f"{8 * GIB}\n"}, 4, 8),
        ({"a/b/cpu.max": "max 100000\n", "a/b/memory.max": "max\n"}, 32, 64),
        ({"a/cpu.max": "250000 100000\n", "a/b/cpu.max": "900000 100000\n", "a/memory.max": f"{3 * GIB}\n"}, 2, 3),
        ({"cpu.max": "10000 100000\n", "memory.max": f"{128 * GIB}\n"}, 1, 64),
    ],
    ids=["own", "none", "of the group around", "at the top, less than a core"],
)
def test_control_groups_of_version_2(tmp_path, files, cpus, gib):
    groups = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    root = machine(tmp_path, {"proc/self/cgroup": "0::/a/b\n"} | groups)
    assert (usable_cpus(root), usable_memory(root)) == (cpus, gib * GIB)


@pytest.mark.parametrize(("cpus", "gigabytes", "workers"), [(4, 64, 4), (24, 7.9, 7), (2, 0.3, 1)])
def test_as_many_workers_as_cores_and_memory_allow(tmp_path, cpus, gigabytes, workers):
    limits = {"cpu.max": f"{cpus}00000 100000\n", "memory.max": f"{int(gigabytes * 1e9)}\n"}
    groups = {f"sys/fs/cgroup/{name}": text for name, text in limits.items()}
    assert usable_workers(machine(tmp_path, {"proc/self/cgroup": "0::/\n"} | groups)) == workers


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "docker/abc/"])
@pytest.mark.parametrize(("quota", "cpus"), [("600000", 6), ("-1", 32)])
def test_control_groups_of_version_1(tmp_path, mount, group, quota, cpus):
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
            f"sys/fs/cgroup/{mount}/{group}cpu.cfs_quota_us": quota,
            f"sys/fs/cgroup/{mount}/{group}cpu.cfs_period_us": "100000",
            f"sys/fs/cgroup/memory/{group}memory.limit_in_bytes": str(2 * GIB),
        },
    )
    assert (usable_cpus(root), usable_memory(root)) == (cpus, 2 * GIB)

"""Large runs under fire: whatever is killed, nothing is lost, little is redone, and the bytes are the same."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.faults import Survival, bad_images, driver_killed, interrupted, node_lost, workers_killed

EXECUTORS = [
    "pool",
    pytest.param(
        "ray",
        marks=[
            pytest.mark.ray,
            pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install ray"),
        ],
    ),
]


def check(survival: Survival, recorded: tuple[str, ...] = ()) -> None:
    assert survival.recorded == recorded
    assert survival.good == survival.images - len(recorded)
    assert 0 <= survival.redone <= survival.allowed
    assert survival.bytes_equal
    assert survival.lossless


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_driver_is_killed(tmp_path, executor):
    check(driver_killed(tmp_path, executor, images=40, kills=1))


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_driver_is_killed_four_times(tmp_path, executor):
    check(driver_killed(tmp_path, executor))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_workers_are_killed(tmp_path, executor):
    check(workers_killed(tmp_path, executor, images=60))


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_workers_are_killed_in_a_longer_run(tmp_path, executor):
    check(workers_killed(tmp_path, executor))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_four_bad_images_of_sixty(tmp_path, executor):
    check(bad_images(tmp_path, executor), ("crash", "crash", "error", "timeout"))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_and_the_same_command_again(tmp_path, executor):
    check(interrupted(tmp_path, executor))


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_of_three_is_lost(tmp_path):
    pytest.importorskip("ray")
    check(node_lost(tmp_path))

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


LENGTHS = [
    pytest.param({"images": 60, "kills": 1}, id="short"),
    pytest.param({}, marks=pytest.mark.slow, id="200 images"),
]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("length", LENGTHS)
def test_the_driver_is_killed(tmp_path, executor, length):
    check(driver_killed(tmp_path, executor, **length))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("length", LENGTHS)
def test_workers_are_killed(tmp_path, executor, length):
    check(workers_killed(tmp_path, executor, **length))


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

"""Benchmarks of large runs work on a little data; what faults.py causes is tested in test_faults.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import coco_merge, driver_memory, executor_overhead, executor_scaling, gpu_labels
from benchmarks.faults import Survival, table
from benchmarks.faulty import FAULTS, FaultyLabeler, draw_pictures
from benchmarks.run_all import COLUMNS
from dico.image import load_image
from tests.conftest import REPOSITORY


def figures_of(output: str) -> dict[str, float]:
    loaded = json.loads(output.strip().splitlines()[-1])
    rows = loaded if isinstance(loaded, list) else [loaded]
    assert all(tuple(row) == COLUMNS for row in rows)
    return {row["name"]: row["value"] for row in rows}


def run_at_the_root(command: list[str], env: dict[str, str] | None = None) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=env).stdout


def test_memory_of_the_driver(capsys):
    assert driver_memory.main(["--results", "1500", "--photographs", "1"]) == 0
    figures = figures_of(capsys.readouterr().out)
    assert figures["memory grown, 1,000 to 1,500 results"] < 50 and figures["results a second"] > 0


def test_overhead(capsys):
    assert executor_overhead.main(["--executors", "inline", "--images", "6", "--seconds", "0.01"]) == 0
    assert set(figures_of(capsys.readouterr().out)) == {
        "overhead of inline x1, asleep",
        "overhead of inline x1, busy",
    }


def test_the_default_gives_equal_bytes_in_processes(dev_data: Path, capsys, monkeypatch):
    monkeypatch.setenv("DICO_DATA", str(dev_data.parent))
    assert executor_scaling.main(["--images", "5", "--runs", "inline:1", "pool:1", "pool:2"]) == 0
    figures = figures_of(capsys.readouterr().out)
    assert figures["runs with equal bytes"] == 3 and figures["pool: two workers / one"] > 0


def scaling_alone(dev_data: Path, *words: str) -> dict[str, float]:
    """In a process of its own: Ray keeps how it authenticates, and other tests make clusters of other kinds."""
    command = [sys.executable, "-m", executor_scaling.__name__, *words]
    return figures_of(run_at_the_root(command, env=os.environ | {"DICO_DATA": str(dev_data.parent)}))


@pytest.mark.ray
def test_the_default_gives_equal_bytes_under_ray(dev_data: Path):
    pytest.importorskip("ray")
    assert scaling_alone(dev_data, "--images", "5", "--runs", "inline:1", "ray:2")["runs with equal bytes"] == 2


@pytest.mark.ray
@pytest.mark.slow
def test_the_default_gives_equal_bytes_on_64_photographs(dev_data: Path):
    pytest.importorskip("ray")
    assert scaling_alone(dev_data)["runs with equal bytes"] == 6


def test_scaling_without_photographs_is_skipped(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DICO_DATA", str(tmp_path))
    assert executor_scaling.main([]) == 77
    assert capsys.readouterr().out.startswith("skipped: needs")


def test_a_merge():
    """In a process of its own: on Linux the peak of a child begins with what its parent has."""
    command = [sys.executable, "-m", coco_merge.__name__, "--images", "40", "--photographs", "1"]
    figures = figures_of(run_at_the_root(command))
    (peak_mb,) = (value for name, value in figures.items() if name.startswith("peak memory, COCO json of"))
    assert 0 < peak_mb < 200


def test_labels_with_a_network(capsys):
    pytest.importorskip("transformers")
    pytest.importorskip("pydensecrf")
    words = ["--device", "cpu", "--images", "3", "--workers", "1", "extractor.size=32", "conquer.crop_size=32"]
    assert gpu_labels.main(words) == 0
    assert "TFLOP" in capsys.readouterr().out
    assert gpu_labels.forward_tflop(480) == pytest.approx(1.09, abs=0.005)


def test_pictures_say_how_to_fail(tmp_path):
    draw_pictures(tmp_path / "images", 5, {1: "raise"})
    labeler = FaultyLabeler(tmp_path / "attempts.txt", 0.0)
    pictures = [load_image(tmp_path / "images" / f"{i:05d}.png") for i in range(5)]
    assert len(labeler(pictures[0])) == 2
    with pytest.raises(RuntimeError, match="as the picture asked"):
        labeler(pictures[1])
    assert len((tmp_path / "attempts.txt").read_text().splitlines()) == 2 and len(FAULTS) == 4


def test_what_counts_as_survived():
    fine = Survival("a fault", "pool", 10, 8, ("crash", "error"), 1, 2, True)
    assert fine.lossless
    assert not Survival("a fault", "pool", 10, 7, ("crash", "error"), 1, 2, True).lossless
    assert not Survival("a fault", "pool", 10, 8, ("crash", "error"), 3, 2, True).lossless
    assert not Survival("a fault", "pool", 10, 8, ("crash", "error"), 1, 2, False).lossless
    assert "2 (crash, error)" in table([fine])

from __future__ import annotations

import json
import os

import pytest
import torch

from benchmarks import click_latency
from benchmarks.run_all import COLUMNS, SKIPPED
from tests.training.asked import write_promptable
from training.config import InferenceConfig, TrainConfig


@pytest.mark.parametrize("named", [False, True])
def test_the_benchmark_runs_on_a_little_data(tmp_path, capsys, named):
    small = ["--size", "60x90", "--runs", "2", "--cores", "1"]
    checkpoint = write_promptable(tmp_path / "a.pth", TrainConfig(inference=InferenceConfig(96, 160)))
    assert click_latency.main([*small, *(["--checkpoint", str(checkpoint)] if named else [])]) == 0
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert [row["name"].split(",")[0] for row in figures] == [
        "clicks: embedding", "clicks: one click", "clicks: a correction of six clicks", "clicks: all masks",
    ]  # fmt: skip
    assert all(tuple(row) == COLUMNS and row["value"] > 0 for row in figures)
    assert figures[1]["reference"] == 0.1


def test_more_cores_than_there_are_is_no_row(capsys):
    assert click_latency.main(["--cores", "100000"]) == SKIPPED
    assert "100000 cores: left out, as this process may use only" in capsys.readouterr().err


def test_cores_are_as_before_afterwards():
    before = torch.get_num_threads(), os.cpu_count()
    with click_latency.limited_to(1):
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), os.cpu_count()) == before

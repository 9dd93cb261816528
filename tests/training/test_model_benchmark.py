from __future__ import annotations

import json

import pytest
import torch

from benchmarks import model_speed
from benchmarks.run_all import COLUMNS

pytest.importorskip("transformers")


def test_the_benchmark_of_the_model_runs_on_a_little_data(capsys):
    small = ["--backbone", "swin_t", "--size", "128x96", "--cases", "5x3", "--runs", "1"]
    assert model_speed.main(small) == 0
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    names = ["inference", "training step, 3 masks", "memory of inference"]
    assert [row["name"].rpartition(": ")[2] for row in figures] == names
    assert all(tuple(row) == COLUMNS and row["value"] > 0 for row in figures)


def test_masks_are_drawn_and_none_is_empty():
    masks_NHW = model_speed.drawn_masks(20, (40, 60))
    assert masks_NHW.shape == (20, 40, 60) and masks_NHW.flatten(1).any(dim=1).all()
    assert torch.equal(masks_NHW, model_speed.drawn_masks(20, (40, 60)))


def test_other_predictions_are_no_figure(monkeypatch):
    model = object()
    monkeypatch.setattr(model_speed, "our_layers", lambda *_: [torch.tensor([1.0, 2.0])])
    monkeypatch.setattr(model_speed, "their_layers", lambda *_: [torch.tensor([1.0, 2.1])])
    with pytest.raises(RuntimeError, match=r"predictions differ by 0\.1 of 2\.1"):
        model_speed.require_equal(model, model, torch.zeros(1))

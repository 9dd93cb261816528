"""What a run tells: lines of its log, measurements, the terminal, TensorBoard."""

from __future__ import annotations

import builtins
import contextlib
import logging
import os
import pty

import pytest
import torch

from tests.training.engine_runs import metrics_of, train, train_config, trainer_of
from training.engine import run_log
from training.engine.hooks import EvaluationHook
from training.engine.metrics import MetricsFile
from training.engine.run_log import LogHook, ProgressLine, period, tensorboard
from training.engine.trainer import Hook, StepReport


def report(step, loss, *, images=2, step_s=0.5):
    losses = {"loss": torch.tensor(float(loss)), "mask": torch.tensor(1.0)}
    return StepReport(step, losses, torch.tensor(4.0), 1e-3, images, 0.25, step_s)


def test_a_period_is_an_average():
    line = dict(period([report(3, 2), report(4, 5, step_s=1.5)], torch.device("cpu")))
    assert line.pop("memory_gb") > 0.01
    assert line == {
        "step": 4,
        "steps": 2,
        "loss": 3.5,
        "mask": 1.0,
        "grad_norm": 4.0,
        "lr": 1e-3,
        "seconds": 1.0,
        "data_seconds": 0.25,
        "images_per_s": 2.0,
    }


def test_the_last_period_may_be_short(tmp_path):
    config = train_config(tmp_path, steps=5)
    told = []
    trainer = trainer_of(config, hooks=[LogHook(MetricsFile(tmp_path / "other.jsonl"), every=3, tell=[told.append])])
    trainer.run()
    assert [(line["step"], line["steps"]) for line in told] == [(3, 3), (5, 2)]
    assert MetricsFile(tmp_path / "other.jsonl").read() == told


def test_lines_of_later_steps_are_removed(tmp_path):
    metrics = MetricsFile(tmp_path / "new" / "metrics.jsonl")
    metrics.truncate_after(3)
    assert metrics.read() == []
    for step in (2, 4, 6):
        metrics.write({"step": step})
        metrics.write({"step": step, "evaluation": {"AR": 0.5}})
    metrics.truncate_after(4)
    assert [line["step"] for line in metrics.read()] == [2, 2, 4, 4]
    assert metrics.has_evaluation(4) and not metrics.has_evaluation(6)


def test_what_is_not_finite_is_null(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.write({"step": 1, "grad_norm": float("inf"), "evaluation": {"AR": float("nan"), "AP": 1.0}})
    assert metrics.path.read_text() == '{"step": 1, "grad_norm": null, "evaluation": {"AR": null, "AP": 1.0}}\n'


def test_a_new_run_in_the_folder_begins_a_new_log(tmp_path):
    config = train_config(tmp_path, steps=2)
    metrics_of(config).write({"step": 1, "of": "a run that was killed before its first checkpoint"})
    train(config)
    assert [line["step"] for line in metrics_of(config).read()] == [1, 2]
    assert "of" not in metrics_of(config).read()[0]


class Evaluation:
    """Counts its calls and asks whether the model is in evaluation mode."""

    def __init__(self):
        self.calls = 0

    def hook(self, config, every):
        return EvaluationHook(self, metrics_of(config), every=every)

    def __call__(self):
        self.calls += 1
        return {"AR100": self.calls / 10}


def evaluations(config):
    return [(line["step"], line["evaluation"]["AR100"]) for line in metrics_of(config).read() if "evaluation" in line]


@pytest.mark.parametrize(("every", "steps"), [(0, [6]), (2, [2, 4, 6]), (4, [4, 6]), (100, [6])])
def test_measured_every_so_often_and_at_the_end(tmp_path, every, steps):
    config = train_config(tmp_path)
    train(config, hooks=[Evaluation().hook(config, every)])
    assert [step for step, _ in evaluations(config)] == steps


def test_the_model_is_measured_as_it_is_used_and_trained_on_as_before(tmp_path):
    config = train_config(tmp_path)
    modes = []

    def evaluate():
        modes.append(trainer.model.training)
        torch.rand(3)
        return {}

    hooks = [EvaluationHook(evaluate, metrics_of(config), every=1)]
    trainer = trainer_of(config, hooks=hooks)
    trainer.run()
    assert modes == [False] * 6 and trainer.model.training
    plain = train_config(tmp_path / "plain")
    train(plain)
    assert [line["loss"] for line in metrics_of(config).read() if "loss" in line] == [
        line["loss"] for line in metrics_of(plain).read()
    ]


def test_a_measurement_is_told_as_it_is_written(tmp_path):
    config, told = train_config(tmp_path), []
    train(config, hooks=[EvaluationHook(Evaluation(), metrics_of(config), every=4, tell=[told.append])])
    assert told == [{"step": step, "evaluation": {"AR100": found}} for step, found in ((4, 0.1), (6, 0.2))]


class FailsAt(Hook):
    def __init__(self, step):
        self.step = step

    def after_step(self, trainer, report):
        if report.step == self.step:
            raise MemoryError


def test_a_measurement_that_was_cut_short_is_made_up_for(tmp_path):
    config = train_config(tmp_path)
    evaluation = Evaluation()
    with pytest.raises(MemoryError):  # after the checkpoint of step 2, before its measurement
        train(config, hooks=[FailsAt(2), evaluation.hook(config, 2)])
    assert evaluations(config) == []
    train(config, 1, hooks=[evaluation.hook(config, 2)])
    assert [step for step, _ in evaluations(config)] == [2, 4, 6]
    train(config, 1, hooks=[evaluation.hook(config, 2)])
    assert [step for step, _ in evaluations(config)] == [2, 4, 6] and evaluation.calls == 3


def line_of(step, steps=5):
    return {"step": step, "steps": steps, "loss": 1.5, "lr": 1e-3, "seconds": 0.5, "memory_gb": 1.25, "grad_norm": 9.0}


def test_elsewhere_than_on_a_terminal_a_line_now_and_then(capsys):
    progress = ProgressLine(1000)
    for step in (5, 10, 15, 1000):
        progress(line_of(step))
    first, last = capsys.readouterr().err.splitlines()
    assert first == "step 5 of 1,000: loss 1.5, lr 0.001, memory_gb 1.25, 2.00 it/s, 8 min to go"
    assert last.startswith("step 1,000 of 1,000: ")


def test_a_bar_on_a_terminal(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((100, 24)))
        progress = ProgressLine(1000)
        progress(line_of(505))
        progress(line_of(510))
    parts = []
    with contextlib.suppress(OSError):  # after the last of what a closed terminal was given
        while part := os.read(ours, 10_000):
            parts.append(part)
    os.close(ours)
    shown = b"".join(parts).decode()
    assert "505/1000" in shown and "510/1000" in shown
    assert "loss 1.5, lr 0.001" in shown


def test_tensorboard_is_missed_in_words(tmp_path, monkeypatch, caplog):
    real = builtins.__import__

    def without(name, *others, **options):
        if name.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard")
        return real(name, *others, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with caplog.at_level(logging.INFO, run_log.__name__):
        assert tensorboard(tmp_path) == []
    assert "pip install 'divide-and-conquer[tensorboard]'" in caplog.text


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (writer,) = tensorboard(tmp_path)
    writer(line_of(5))
    writer(line_of(10))
    writer({"step": 10, "evaluation": {"coco/AR@100": 12.5}})
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.value for event in events.Scalars("coco/AR@100")] == [12.5]
    assert [event.step for event in events.Scalars("loss")] == [5, 10]

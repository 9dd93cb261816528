"""The command line of training, and what build makes of a configuration."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.training.annotated import write_annotated
from training.config import load_train_config
from training.models.checkpoints import load_model

TOOL = REPOSITORY / "tools" / "train_net.py"
TINY = [
    "device=cpu", "log_every=1", "checkpoint_every=3",
    "model.backbone=tiny", "model.width=32", "model.heads=4", "model.queries=12", "model.encoder_layers=1",
    "model.encoder_feedforward=32", "model.decoder_layers=2", "model.decoder_feedforward=32",
    "loss.points=128", "data.image_size=64", "data.scale=[0.8, 1.2]", "data.min_area_px=4", "data.workers=0",
    "optim.batch_size=2", "optim.lr=1e-3", "optim.clip_norm=1", "optim.steps=6", "inference.short_side=64",
    "inference.long_side=96",
]  # fmt: skip


@pytest.fixture(scope="module")
def train_net():
    return runpy.run_path(str(TOOL))["main"]


@pytest.fixture
def annotations(tmp_path):
    return write_annotated(tmp_path / "drawn")


def command(annotations, output, *more):
    return [*TINY, f"data.train=[{annotations}]", f"output={output}", *more]


def lines(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(output):
    return [(line["step"], line["loss"]) for line in lines(output) if "loss" in line]


def test_training_learns_measures_and_can_be_measured_again(tmp_path, annotations, train_net, capsys):
    output = tmp_path / "out"
    measured = [f"evaluation.data=[{annotations}]", "evaluation.max_dets=[12]"]
    asked = command(annotations, output, "optim.steps=40", *measured)
    assert train_net([*asked, "evaluation.every=20"]) == 0
    curve = [loss for _, loss in losses(output)]
    assert len(curve) == 40 and np.mean(curve[-5:]) < 0.75 * np.mean(curve[:5])
    measured = [(line["step"], line["evaluation"]) for line in lines(output) if "evaluation" in line]
    assert [step for step, _ in measured] == [20, 40] and measured[1][1]["drawn/AR@12"] > 5
    assert json.loads((output / "config.yaml").read_text())["optim"]["steps"] == 40
    assert load_train_config(output / "config.yaml").optim.steps == 40
    assert load_model(output / "model_final.pth").config.queries == 12
    capsys.readouterr()
    # The backbone that a run began with is of no interest to its end.
    assert train_net([*asked, "backbone_weights=away.pth", "--eval-only"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("drawn: 5 images") and f"{measured[1][1]['drawn/AR@12']:.1f}" in table


def test_a_resumed_run_takes_the_steps_of_an_uninterrupted_one(tmp_path, annotations, train_net):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_net(command(annotations, whole, "optim.schedule=constant")) == 0
    assert train_net(command(annotations, parts, "optim.schedule=constant", "optim.steps=3")) == 0
    assert train_net([*command(annotations, parts, "optim.schedule=constant", "data.workers=1"), "--resume"]) == 0
    assert losses(parts) == losses(whole) and len(losses(whole)) == 6
    weights = [torch.load(path / "model_final.pth", weights_only=True)["model"] for path in (whole, parts)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_data_may_move_and_may_not_change(tmp_path, annotations, train_net, capsys):
    output = tmp_path / "out"
    assert train_net(command(annotations, output, "optim.steps=1")) == 0
    moved = annotations.parent.rename(tmp_path / "moved") / "annotations.json"
    assert train_net([*command(moved, output, "optim.steps=2"), "--resume"]) == 0
    assert [step for step, _ in losses(output)] == [1, 2]
    content = json.loads(moved.read_text())
    kept = content["images"].pop()
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != kept["id"]]
    moved.write_text(json.dumps(content))
    capsys.readouterr()
    assert train_net([*command(moved, output, "optim.steps=3"), "--resume"]) == 2
    said = capsys.readouterr().err
    assert "data.contents was '5 images" in said and "is '4 images" in said


def test_weights_that_a_run_began_with_may_be_gone(tmp_path, annotations, train_net, caplog):
    start, output = tmp_path / "first" / "model_final.pth", tmp_path / "out"
    assert train_net(command(annotations, start.parent, "optim.steps=1")) == 0
    assert train_net(command(annotations, output, "optim.steps=1", f"weights={start}")) == 0
    start.unlink()
    again = [*command(annotations, output, "optim.steps=2", f"weights={start}"), "--resume"]
    assert train_net(again) == 0
    assert train_net([*command(annotations, output, "optim.steps=3"), "--resume"]) == 0
    assert "weights was '" in caplog.text and "and is ''" in caplog.text
    assert [step for step, _ in losses(output)] == [1, 2, 3]
    assert train_net([*command(annotations, tmp_path / "new", f"weights={start}"), "--resume"]) == 2


def test_several_processes_say_what_one_says(tmp_path, annotations):
    output = tmp_path / "out"
    asked = command(annotations, output, "optim.steps=1", f"evaluation.data=[{annotations}]")
    done = subprocess.run(
        [sys.executable, str(TOOL), *asked, "--num-gpus", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    for said in ("5 images", "drawn: 5 images", f"done: the model is {output / 'model_final.pth'}"):
        assert done.stderr.count(f"train_net: {said}") == 1


def test_two_processes_learn_what_one_does(tmp_path, annotations, train_net):
    one, two = tmp_path / "one", tmp_path / "two"
    assert train_net(command(annotations, one)) == 0
    assert train_net([*command(annotations, two), "--num-gpus", "2"]) == 0
    assert [step for step, _ in losses(two)] == [step for step, _ in losses(one)]
    assert np.allclose([loss for _, loss in losses(two)], [loss for _, loss in losses(one)], rtol=1e-4)


def test_the_first_twenty_losses_are_pinned(tmp_path, annotations, train_net):
    """A change of these is a change of what is learnt; machines round differently, which twenty steps amplify."""
    output = tmp_path / "out"
    assert train_net(command(annotations, output, "optim.steps=20")) == 0
    pinned = [
        24.6316, 23.3098, 22.0716, 22.6310, 21.4085, 21.7499, 20.5563, 19.6515, 20.5969, 20.2035,
        19.6974, 19.4493, 19.3156, 19.1861, 20.2948, 20.8385, 19.2873, 18.1264, 18.4598, 20.1470,
    ]  # fmt: skip
    assert np.allclose([loss for _, loss in losses(output)], pinned, rtol=1e-2)


def test_a_wish_to_stop_is_a_checkpoint(tmp_path, annotations):
    output = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(TOOL), *command(annotations, output, "optim.steps=100000")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (output / "metrics.jsonl").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130, said
    step = losses(output)[-1][0]
    assert (output / "last_checkpoint").read_text().strip() == f"model_{step:07d}.pth"


def test_training_starts_from_weights(tmp_path, annotations, train_net):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_net(command(annotations, first)) == 0
    weights = f"weights={first / 'model_final.pth'}"
    assert train_net(command(annotations, second, weights, "optim.lr=1e-9", "optim.steps=1")) == 0
    kept = [torch.load(path / "model_final.pth", weights_only=True)["model"] for path in (first, second)]
    assert all(torch.allclose(kept[0][name], kept[1][name], atol=1e-6) for name in kept[0])


@pytest.mark.parametrize(
    ("more", "code", "complaint"),
    [
        (["optim.learning_rate=1"], 2, "unknown configuration key 'optim.learning_rate'"),
        (["data.train=[nowhere]"], 2, "no data set has the name 'nowhere'"),
        (["data.train=[]"], 2, "data.train must name at least one data set"),
        (["evaluation.data=[nowhere]"], 2, "no data set has the name 'nowhere'"),
        (["weights=nowhere.pth"], 2, "nowhere.pth"),
        (["optim.batch_size=3", "--num-gpus", "2"], 2, "optim.batch_size must be a multiple of the 2 processes, got 3"),
        (["optim.lr=1e30", "optim.clip_norm=0"], 1, "lower optim.lr"),
        (["--config-file", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--eval-only"], 2, "has no checkpoint to evaluate"),
        (["--num-gpus", "0"], 2, "processes and machines must be at least 1"),
        (["device=gpu"], 2, "device must be auto, cpu, cuda or mps, got 'gpu'"),
        (["data.train=labels"], 2, "write data.train=[labels]"),
    ],
)
def test_what_cannot_work_is_said(tmp_path, annotations, train_net, capsys, more, code, complaint):
    output = tmp_path / "out"
    assert train_net(command(annotations, output, *more)) == code
    assert complaint in capsys.readouterr().err
    assert not list(output.glob("*.pth"))


def test_data_sets_of_one_name_are_told_apart(tmp_path, annotations, train_net, capsys):
    other = write_annotated(tmp_path / "other" / "drawn")
    assert train_net(command(annotations, tmp_path / "out", f"evaluation.data=[{annotations}, {other}]")) == 2
    assert "evaluation.data must have names of their own, got drawn more often" in capsys.readouterr().err


def test_an_output_that_has_checkpoints_is_not_written_over(tmp_path, annotations, train_net, capsys):
    output = tmp_path / "out"
    assert train_net(command(annotations, output, "optim.steps=1")) == 0
    before = (output / "model_final.pth").read_bytes()
    assert train_net(command(annotations, output, "optim.steps=1")) == 2
    assert "--resume" in capsys.readouterr().err
    assert (output / "model_final.pth").read_bytes() == before


def test_weights_of_another_architecture_are_refused(tmp_path, annotations, train_net, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_net(command(annotations, first, "optim.steps=1")) == 0
    other = ["model.width=64", f"weights={first / 'model_final.pth'}"]
    assert train_net(command(annotations, second, *other)) == 2
    assert "model_final.pth" in capsys.readouterr().err and not second.exists()


def test_images_that_cannot_be_used_are_passed_over(tmp_path, annotations, train_net, caplog):
    (tmp_path / "drawn" / "images" / "02.png").write_bytes(b"no image")
    (tmp_path / "drawn" / "images" / "03.png").unlink()
    assert train_net(command(annotations, tmp_path / "out")) == 0
    assert "02.png" in caplog.text and "03.png" in caplog.text
    few = command(annotations, tmp_path / "few", "data.max_skipped=1")
    assert train_net(few) == 2
    assert not list((tmp_path / "few").glob("*.pth"))


def test_every_configuration_in_the_repository_loads():
    files = sorted((REPOSITORY / "configs" / "training").glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        assert load_train_config(file).engine == "torch"

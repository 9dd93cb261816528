"""Checkpoints on the disk: what a kill leaves, what damage says, and what another configuration may not do."""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dico.config_loading import to_plain
from tests.training.engine_runs import checkpoints_of, final_weights, losses_of, train, train_config, trainer_of
from training.config import TrainConfig
from training.engine.checkpoint import Checkpoints, TrainingState
from training.engine.resume import require_same_learning

REPOSITORY = Path(__file__).resolve().parents[2]


def state(step):
    return TrainingState(step, {"weight": torch.full((4,), float(step))}, {"state": {}, "param_groups": []}, {})


def written(folder, *steps, keep=2, final=False):
    checkpoints = Checkpoints(folder, {"seed": 0}, keep=keep)
    for step in steps:
        checkpoints.save(state(step), final=final and step == steps[-1])
    return checkpoints


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back(tmp_path):
    checkpoints = written(tmp_path, 7)
    loaded, config = checkpoints.load(checkpoints.last())
    assert loaded.step == 7 and torch.equal(loaded.model["weight"], torch.full((4,), 7.0)) and config == {"seed": 0}
    held = torch.load(tmp_path / "model_0000007.pth", weights_only=True)
    assert held.keys() == {"model", "optimizer", "scaler", "step", "config", "config_hash", "version"}


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, ["model_0000030.pth"]), (2, ["model_0000020.pth", "model_0000030.pth"])]
)
def test_the_newest_are_kept(tmp_path, keep, kept):
    written(tmp_path, 10, 20, 30, keep=keep)
    assert names(tmp_path) == ["last_checkpoint", *kept]


def test_the_final_one_is_kept_beside_them(tmp_path):
    checkpoints = written(tmp_path, 10, 20, 30, 31, keep=1, final=True)
    assert names(tmp_path) == ["last_checkpoint", "model_0000030.pth", "model_final.pth"]
    assert checkpoints.last() == tmp_path / "model_final.pth" and checkpoints.load(checkpoints.last())[0].step == 31


def test_more_digits_than_a_name_has_are_in_order(tmp_path):
    written(tmp_path, 9_999_999, 10_000_000, 10_000_001, keep=2)
    assert names(tmp_path) == ["last_checkpoint", "model_10000000.pth", "model_10000001.pth"]


def test_one_that_was_just_written_stays_beside_later_ones(tmp_path):
    written(tmp_path, 10, 20, 30, keep=3)
    checkpoints = written(tmp_path, 15, keep=2)  # as after going back to 10
    assert checkpoints.load(checkpoints.last())[0].step == 15


def test_other_files_stay(tmp_path):
    (tmp_path / "model_best.pth").write_text("mine")
    written(tmp_path, 1, 2, 3, keep=1)
    assert names(tmp_path) == ["last_checkpoint", "model_0000003.pth", "model_best.pth"]


def test_a_new_run_does_not_write_over_an_old_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, {}, keep=1)
    checkpoints.require_none()
    checkpoints.save(state(1))
    with pytest.raises(FileExistsError, match="--resume goes on from them"):
        checkpoints.require_none()


def test_nothing_to_go_on_from_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trainer_of(train_config(tmp_path), go_on=True)
    assert trainer.step == 0 and "no checkpoint to go on from" in caplog.text


def test_a_damaged_checkpoint_names_one_that_is_not(tmp_path):
    checkpoints = written(tmp_path, 1, 2, 3, keep=3)
    for step in (2, 3):
        path = tmp_path / f"model_000000{step}.pth"
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"model_0000003\.pth cannot be read .*write model_0000001\.pth into .*step 1"):
        checkpoints.load(checkpoints.last())


def test_a_damaged_checkpoint_without_another(tmp_path):
    checkpoints = written(tmp_path, 1)
    checkpoints.last().write_bytes(b"")
    with pytest.raises(ValueError, match="no other checkpoint in the folder can be read: start anew"):
        checkpoints.load(checkpoints.last())


def test_a_checkpoint_that_went_away(tmp_path):
    checkpoints = written(tmp_path, 1, 2)
    (tmp_path / "model_0000002.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"'model_0000002\.pth', which is not there; write model_0000001"):
        checkpoints.last()


def test_weights_alone_are_no_checkpoint(tmp_path):
    torch.save({"model": {}}, tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    checkpoints = Checkpoints(tmp_path, {}, keep=1)
    with pytest.raises(ValueError, match=r"it has no optimizer, scaler, step, config; weights=.* starts a new run"):
        checkpoints.load(checkpoints.last())


KILLED_IN_A_WRITE = """
import os, signal, sys
from pathlib import Path
import torch
from tests.training.engine_runs import train, train_config
from training.engine import checkpoint

class Half:
    '''Writes as torch does, and is killed in the middle of what the folder would have had next.'''
    def __init__(self, file, at):
        self.file, self.at = file, at
    def write(self, data):
        written = self.file.write(data)
        if self.file.tell() > self.at:
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return written
    def __getattr__(self, name):
        return getattr(self.file, name)

save = torch.save
def save_in_part(held, path):
    if held["step"] != 4:
        return save(held, path)
    with open(path, "wb") as file:
        save(held, Half(file, int(sys.argv[2])))

torch.save = save_in_part
train(train_config(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("at", [0, 100_000])
def test_a_kill_in_a_write_leaves_the_last_good_one(tmp_path, at):
    parts, whole = train_config(tmp_path / "parts"), train_config(tmp_path / "whole")
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", KILLED_IN_A_WRITE, parts.output, str(at)]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode == -9
    (torn,) = Path(parts.output).glob(".model_*.tmp")
    assert at < torn.stat().st_size < (Path(parts.output) / "model_0000002.pth").stat().st_size
    assert checkpoints_of(parts).last().name == "model_0000002.pth"
    assert train(parts, 1) == 0
    assert names(Path(parts.output)) == [
        "last_checkpoint",
        "metrics.jsonl",
        "model_0000002.pth",
        "model_0000004.pth",
        "model_final.pth",
    ]
    train(whole)
    assert losses_of(parts) == losses_of(whole)
    left, right = final_weights(whole), final_weights(parts)
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("at", [100, 50_000])
def test_a_full_disk_leaves_the_last_good_one(tmp_path, at):
    checkpoints = written(tmp_path, 1)
    large = TrainingState(2, {"weight": torch.zeros(100_000)}, {}, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, limits[1]))
    try:
        with pytest.raises(OSError, match=r"model_0000002\.pth cannot be written .*: is there room\?"):
            checkpoints.save(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["last_checkpoint", "model_0000001.pth"]
    assert checkpoints.load(checkpoints.last())[0].step == 1


def test_a_kill_between_the_first_checkpoint_and_its_name(tmp_path):
    checkpoints = written(tmp_path, 3)
    (tmp_path / "last_checkpoint").unlink()
    assert checkpoints.last() == tmp_path / "model_0000003.pth"


def changed(config, **sections):
    for name, options in sections.items():
        value = dataclasses.replace(getattr(config, name), **options) if isinstance(options, dict) else options
        config = dataclasses.replace(config, **{name: value})
    return config


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"optim": {"lr": 2e-3}}, r"optim\.lr was 0\.001 and is 0\.002"),
        ({"optim": {"batch_size": 4}}, r"optim\.batch_size was 2 and is 4"),
        ({"model": {"queries": 7}}, r"model\.queries was 6 and is 7"),
        ({"loss": {"drop_iou": 0.01}, "data": {"flip": 0.0}}, r"loss\.drop_iou .*; data\.flip was 0\.5 and is 0\.0"),
    ],
)
def test_a_run_goes_on_only_as_it_began(tmp_path, options, complaint):
    config = train_config(tmp_path, steps=2)
    train(config)
    with pytest.raises(ValueError, match=complaint):
        train(changed(config, **options), 1)


def test_what_decides_nothing_may_change(tmp_path, caplog):
    config = train_config(tmp_path, steps=2, schedule="constant")
    train(config)
    longer = changed(config, optim={"steps": 4}, log_every=2, evaluation={"every": 3}, data={"workers": 0})
    with caplog.at_level(logging.WARNING):
        assert train(longer, 1) == 0
    assert "optim.steps was 2 and is 4" in caplog.text
    whole = train_config(tmp_path / "whole", steps=4, schedule="constant")
    train(whole)
    left, right = final_weights(whole), final_weights(longer)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_an_option_of_another_release_is_no_difference():
    before, now = ({**to_plain(TrainConfig()), **extra} for extra in ({"gone": 1}, {"come": {"deep": 2}}))
    require_same_learning(before, now, Path("model.pth"))

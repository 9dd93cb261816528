"""Steps, and runs that are stopped and resumed."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn

from dico.interrupt import Interrupt
from tests.training.engine_runs import (
    checkpoints_of,
    final_weights,
    losses_of,
    metrics_of,
    train,
    train_config,
    trainer_of,
    whole_image_objective,
)
from training.config import ModelConfig, SwinConfig
from training.engine.trainer import Hook
from training.models.checkpoints import load_model
from training.models.whole_image import WholeImageModel
from training.samples import Losses, Targets


class StopAfter(Hook):
    """What Ctrl-C and whoever ends jobs do, after so many steps."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def after_step(self, trainer, report):
        if report.step == self.step:
            os.kill(os.getpid(), self.number)


def equal(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_writes_checkpoints_and_a_log(tmp_path):
    config = train_config(tmp_path)
    assert train(config) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last_checkpoint", "metrics.jsonl", "model_0000002.pth", "model_0000004.pth", "model_final.pth",
    ]  # fmt: skip
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth\n"
    lines = metrics_of(config).read()
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "class", "mask", "dice", "grad_norm", "lr", "images_per_s", "memory_gb"} <= lines[0].keys()
    assert all(line["seconds"] >= line["data_seconds"] > 0 for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_twice_equals_uninterrupted(tmp_path, number):
    whole, parts = train_config(tmp_path / "whole"), train_config(tmp_path / "parts")
    assert train(whole) == 0
    assert train(parts, hooks=[StopAfter(1, number)]) == 130
    assert (tmp_path / "parts" / "last_checkpoint").read_text() == "model_0000001.pth\n"
    assert train(parts, 1, hooks=[StopAfter(4, number)]) == 130
    assert train(parts, 1) == 0
    assert equal(final_weights(whole), final_weights(parts))
    assert losses_of(whole) == losses_of(parts)


def test_a_process_of_several_may_be_told_twice():
    # By the terminal and by the process that started it.
    with Interrupt(b"", twice_leaves=False) as interrupt:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert interrupt.requested


def test_steps_after_the_last_checkpoint_are_taken_again(tmp_path):
    class Fails(Hook):
        def after_step(self, trainer, report):
            if report.step == 5:
                raise MemoryError

    whole, parts = train_config(tmp_path / "whole"), train_config(tmp_path / "parts")
    train(whole)
    with pytest.raises(MemoryError):
        train(parts, hooks=[Fails()])
    assert [step for step, *_ in losses_of(parts)] == [1, 2, 3, 4, 5]
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # as a kill leaves it
    assert train(parts, 1) == 0
    assert losses_of(whole) == losses_of(parts) and equal(final_weights(whole), final_weights(parts))


def test_what_a_model_draws_is_a_function_of_the_step(tmp_path):
    swin = SwinConfig(width=24, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), drop_path=0.5)
    model = ModelConfig(**{**vars(train_config(tmp_path).model), "backbone": "swin_t", "swin": swin})

    def config(name, **optim):
        return train_config(tmp_path / name, steps=4, precision="float32", **optim)

    def run(config, go_on, hooks=()):
        torch.manual_seed(3)
        return trainer_of(config, go_on=go_on, hooks=hooks, model=WholeImageModel(model)).run()

    assert run(config("whole"), False)
    assert not run(config("parts"), False, [StopAfter(2)])
    torch.rand(5)
    assert run(config("parts"), True)
    assert losses_of(config("whole")) == losses_of(config("parts"))


def test_a_run_that_is_over_is_left_alone(tmp_path):
    config = train_config(tmp_path)
    train(config)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pth")}
    assert train(config, 1) == 0
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pth")}
    assert len(losses_of(config)) == 6


def test_weights_of_a_checkpoint_are_read_as_a_model(tmp_path):
    config = train_config(tmp_path)
    train(config)
    model = load_model(tmp_path / "model_0000004.pth")
    assert model.config == config.model
    assert equal(load_model(tmp_path / "model_final.pth").state_dict(), final_weights(config))


def exploding(at):
    def objective(model, batch):
        losses = whole_image_objective(model, batch)
        factor = float("nan") if 2 * at in batch.positions else 1.0
        return Losses(losses.class_L, losses.mask_L, losses.dice_L, losses.total * factor)

    return objective


def test_a_loss_that_is_not_finite_ends_training_and_changes_nothing(tmp_path):
    config = train_config(tmp_path)
    trainer = trainer_of(config, objective=exploding(at=3))
    with pytest.raises(FloatingPointError, match=r"step 4, images 6, 7: the loss must .* got nan: .*; lower optim\.lr"):
        trainer.run()
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth\n"
    assert [step for step, *_ in losses_of(config)] == [1, 2, 3]
    assert trainer_of(config, go_on=True).run()


def without_masks(model, batch):
    empty = tuple(Targets(targets.masks_NHW[:0]) for targets in batch.targets)
    return whole_image_objective(model, replace(batch, targets=empty))


@pytest.mark.parametrize(
    ("objective", "complaint"),
    [
        (whole_image_objective, "the predictions of 6 of 6 queries are not finite"),
        (without_masks, "the loss must be finite, got nan"),
    ],
)
def test_predictions_that_are_not_finite_are_explained(tmp_path, objective, complaint):
    trainer = trainer_of(train_config(tmp_path), objective=objective)
    with torch.no_grad():
        trainer.model.class_predictor.bias.fill_(float("nan"))
    said = rf"step 1, images 0, 1: {complaint}: training has diverged; lower optim\.lr"
    with pytest.raises(FloatingPointError, match=said) as caught:
        trainer.run()
    assert isinstance(caught.value.__cause__, FloatingPointError)


def test_a_gradient_that_is_not_finite_is_not_kept(tmp_path):
    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    def objective(model, batch):
        losses = whole_image_objective(model, batch)
        overflows = 2 in batch.positions  # in step 2, after which there is a checkpoint
        total = Overflow.apply(losses.total) if overflows else losses.total
        return Losses(losses.class_L, losses.mask_L, losses.dice_L, total)

    with pytest.raises(FloatingPointError, match="gradient of step 2 must be finite"):
        trainer_of(train_config(tmp_path), objective=objective).run()
    assert checkpoints_of(train_config(tmp_path)).last() is None


@pytest.mark.parametrize(("precision", "near"), [("bfloat16", 0.1), ("float16", 0.05)])
def test_lower_precision_learns_alike_and_resumes(tmp_path, precision, near):
    plain = train_config(tmp_path / "plain")
    train(plain)
    whole, parts = (train_config(tmp_path / name, precision=precision) for name in ("whole", "parts"))
    train(whole)
    train(parts, hooks=[StopAfter(3)])
    train(parts, 1)
    assert losses_of(whole) == losses_of(parts) and equal(final_weights(whole), final_weights(parts))
    assert losses_of(whole)[0][1] == pytest.approx(losses_of(plain)[0][1], rel=near)
    assert losses_of(whole) != losses_of(plain)
    assert all(value.dtype == torch.float32 for value in final_weights(whole).values())


def test_every_parameter_gets_a_gradient(tmp_path):
    # DistributedDataParallel waits for all of them.
    trainer = trainer_of(train_config(tmp_path, steps=1))
    trainer.run()
    assert [name for name, value in trainer.model.named_parameters() if value.grad is None] == []


def test_another_objective_and_model_train_as_well(tmp_path):
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(3))

        def forward(self, images_BCHW):
            return self.mean - images_BCHW.float().mean(dim=(2, 3)) / 255

    def objective(model, batch):
        total = model(batch.images_BCHW).square().mean()
        return Losses(total[None], total[None], total[None], total)

    config = train_config(tmp_path, steps=40, lr=0.05)
    trainer_of(config, model=Mean(), objective=objective).run()
    losses = [loss for _, loss, _ in losses_of(config)]
    assert losses[-1] < losses[0] / 5

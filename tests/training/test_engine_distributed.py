"""Several processes on one machine give what one gives, fail together, and come back together."""

from __future__ import annotations

import functools
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from tests.training.engine_runs import (
    final_weights,
    losses_of,
    train,
    train_config,
    trainer_of,
    whole_image_objective,
)
from training.engine import comm
from training.engine.hooks import EvaluationHook
from training.engine.launch import Group, launch
from training.engine.metrics import MetricsFile
from training.engine.trainer import Hook
from training.engine.worker import WorkerError
from training.samples import Losses

REPOSITORY = Path(__file__).resolve().parents[2]


def save_gradients(folder, attempt):
    """The gradients of one step of four images; one process looks at all of them, or two at two."""
    config = train_config(folder / str(comm.rank()), batch_size=4, steps=1, clip_norm=0.0)
    trainer = trainer_of(config)
    trainer.train_step(next(trainer.source.batches(0)))
    gradients = {name: value.grad for name, value in trainer.model.named_parameters()}
    torch.save([gradients, trainer.model.state_dict()], folder / f"rank{comm.rank()}of{comm.world_size()}.pt")
    everything = comm.gathered([comm.rank()] * (1 + comm.rank()))
    assert everything == ([0, 1, 1] if comm.world_size() == 2 and comm.is_main() else [0] * comm.is_main())
    return 0


@pytest.fixture(scope="module")
def gradients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    main = functools.partial(save_gradients, folder)
    assert launch(main, Group()) == 0
    assert launch(main, Group(processes=2)) == 0
    return [torch.load(folder / f"{name}.pt") for name in ("rank0of1", "rank0of2", "rank1of2")]


def test_two_processes_give_the_gradients_of_one(gradients):
    # Images have one, two or three masks, so the processes' shares of them differ.
    (alone, _), (first, _), (second, _) = gradients
    whole, shared = (torch.cat([value.flatten() for value in found.values()]) for found in (alone, first))
    assert (whole - shared).norm() < 1e-6 * whole.norm() and whole.norm() > 1
    torch.testing.assert_close(shared, whole, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(first[name], second[name]) for name in alone)


def test_two_processes_hold_the_same_weights(gradients):
    _, (_, first), (_, second) = gradients
    assert all(torch.equal(first[name], second[name]) for name in first)


class Dies(Hook):
    """A process is killed after a step, as by a system that is out of memory; in the first attempt only."""

    def __init__(self, rank, step, attempts=1):
        self.rank, self.step, self.attempts = rank, step, attempts

    def after_step(self, trainer, report):
        if report.step == self.step and comm.rank() == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)


def train_dying(config, attempts, rank, attempt):
    return train(config, attempt, hooks=[Dies(rank, 3)] if attempt < attempts else [])


def test_a_killed_process_changes_nothing(tmp_path, caplog):
    whole, parts = train_config(tmp_path / "whole"), train_config(tmp_path / "parts")
    assert launch(functools.partial(train, whole), Group(processes=2)) == 0
    with caplog.at_level(logging.WARNING):
        assert launch(functools.partial(train_dying, parts, 1, 1), Group(processes=2)) == 0
    assert "training processes were killed: 1 by SIGKILL; all are started again" in caplog.text
    left, right = final_weights(whole), final_weights(parts)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert losses_of(whole) == losses_of(parts)


@pytest.mark.slow
def test_a_group_that_is_killed_too_often_is_given_up(tmp_path):
    main = functools.partial(train_dying, train_config(tmp_path, steps=4), 9, 0)
    with pytest.raises(WorkerError, match=r"killed 2 times.*--resume goes on"):
        launch(main, Group(processes=2, relaunches=1))


def diverge_in_one(config, attempt):
    def objective(model, batch):
        losses = whole_image_objective(model, batch)
        factor = float("nan") if 7 in batch.positions else 1.0
        return Losses(losses.class_L, losses.mask_L, losses.dice_L, losses.total * factor)

    return 0 if trainer_of(config, objective=objective).run() else 130


def test_all_end_when_one_fails(tmp_path):
    with pytest.raises(FloatingPointError, match=r"step 4, images 7: .* got nan"):
        launch(functools.partial(diverge_in_one, train_config(tmp_path)), Group(processes=2))
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth\n"


class SlowSteps(Hook):
    def after_step(self, trainer, report):
        time.sleep(0.2)


def train_slowly(config, attempt):
    def evaluate():
        return {"images": float(len(comm.gathered([0, 1])))}

    log = MetricsFile(Path(config.output) / "metrics.jsonl")
    return train(config, attempt, hooks=[EvaluationHook(evaluate, log, every=1), SlowSteps()])


SCRIPT = """
import functools, sys
from pathlib import Path
from tests.training import test_engine_distributed as tests
from training.engine.launch import Group, launch
if __name__ == "__main__":
    config = tests.train_config(Path(sys.argv[1]), steps=1000)
    sys.exit(launch(functools.partial(tests.train_slowly, config), Group(processes=2)))
"""


def run_script(folder, send):
    """The output folder, exit code and standard error of a group of two that is sent something."""
    script, output = folder / "script.py", folder / "out"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command, environment = [sys.executable, script, output], {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (output / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.1)
        send(process.pid)
        _, errors = process.communicate()  # until all that write there have ended
    return output, process.returncode, errors


def ctrl_c(pid):
    os.killpg(pid, signal.SIGINT)  # as a terminal does, to all processes


def terminate(pid):
    os.kill(pid, signal.SIGTERM)  # to the first one, as whoever ends jobs does


@pytest.mark.slow
@pytest.mark.parametrize("send", [ctrl_c, terminate])
def test_a_group_that_is_asked_to_stop_writes_a_checkpoint(tmp_path, send):
    output, code, errors = run_script(tmp_path, send)
    assert code == 130, errors
    assert errors.count("Stopping after this step") == 1
    lines = MetricsFile(output / "metrics.jsonl").read()
    last = max(line["step"] for line in lines)
    assert (output / "last_checkpoint").read_text() == f"model_{last:07d}.pth\n"
    assert lines[1] == {"step": 1, "evaluation": {"images": 4.0}}


@pytest.mark.slow
def test_a_group_ends_with_who_started_it(tmp_path):
    output, code, _ = run_script(tmp_path, lambda pid: os.kill(pid, signal.SIGKILL))
    assert code == -signal.SIGKILL
    last = max(line["step"] for line in MetricsFile(output / "metrics.jsonl").read())
    assert last < 1000 and (output / "last_checkpoint").read_text() == f"model_{last:07d}.pth\n"


def fail_at_once(attempt):
    if comm.rank() == 1:
        raise KeyError("data.trian")
    return 0


@pytest.mark.slow
def test_an_error_in_one_process_is_raised_as_it_was():
    with pytest.raises(KeyError, match="trian") as caught:
        launch(fail_at_once, Group(processes=2))
    assert "in a training process" in str(caught.value.__cause__) and "fail_at_once" in str(caught.value.__cause__)


def cannot_talk(attempt):
    raise distributed.DistBackendError("NCCL error: Duplicate GPU detected")


@pytest.mark.slow
def test_processes_that_cannot_talk_are_not_taken_for_killed():
    with pytest.raises(WorkerError, match=r"none was killed \(exit codes \[1, 1\]\): NCCL error: Duplicate GPU"):
        launch(cannot_talk, Group(processes=2))


def report_rank(folder, attempt):
    (folder / f"{comm.rank()} of {comm.world_size()}, attempt {attempt}").touch()
    return 7


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch_machine(folder, url, machine):
    return launch(
        functools.partial(report_rank, folder), Group(processes=1, machines=2, machine_rank=machine, dist_url=url)
    )


@pytest.mark.slow
def test_two_machines_meet(tmp_path):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    url = f"tcp://127.0.0.1:{free_port()}"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as machines:
        codes = [machines.submit(launch_machine, tmp_path, url, machine) for machine in (0, 1)]
        assert [code.result() for code in codes] == [7, 7]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0 of 2, attempt 0", "1 of 2, attempt 0"]


def test_under_torchrun_its_group_is_used(tmp_path, monkeypatch):
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": str(free_port()), "TORCHELASTIC_RESTART_COUNT": "2"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch(functools.partial(report_rank, tmp_path), Group(processes=8)) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["0 of 1, attempt 2"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"processes": 0}, "at least 1, got 0"),
        ({"machines": 2}, r"dist_url must be tcp://HOST:PORT of machine 0, got 'auto'"),
        ({"dist_url": "tcp://somewhere"}, "dist_url must be"),
        ({"machines": 2, "machine_rank": 2, "dist_url": "tcp://a:1"}, "machine_rank must be below machines=2, got 2"),
        ({"device": "cuda", "processes": 99}, "processes must be at most the GPUs"),
    ],
)
def test_groups_that_cannot_be(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Group(**options)

"""What workers of Ray Train run in tests: functions that they can import."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from tests.training.engine_runs import train
from training.config import TrainConfig
from training.engine import comm
from training.engine.trainer import Hook, StepReport, Trainer


class Dies(Hook):
    """The second of the workers is killed after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer, report: StepReport) -> None:
        if report.step == self.step and comm.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(config: TrainConfig, attempt: int) -> None:
    """The first attempt ends after three steps, one after a checkpoint."""
    train(config, attempt, hooks=[] if attempt else [Dies(3)])


def fail(attempt: int) -> None:
    """The second worker fails, and the first waits for it."""
    if comm.rank() == 1:
        raise FloatingPointError(f"no number in attempt {attempt}")
    comm.barrier()


def die(attempt: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_ever(begun: Path, attempt: int) -> None:
    begun.touch()
    threading.Event().wait()

"""Checkpoints and measurements, every so many steps and at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from training.engine import comm
from training.engine.checkpoint import FINAL, Checkpoints
from training.engine.metrics import MetricsFile
from training.engine.resume import require_same_learning
from training.engine.run_log import Line
from training.engine.trainer import Hook, StepReport, Trainer

log = logging.getLogger(__name__)


class CheckpointHook(Hook):
    """Writes checkpoints: every so many steps, when training is asked to stop, and at the end.

    Args:
        checkpoints: Where to.
        every: Steps between two.
    """

    def __init__(self, checkpoints: Checkpoints, *, every: int) -> None:
        self._checkpoints = checkpoints
        self._every = every
        self._saved_at = -1

    def before_run(self, trainer: Trainer) -> None:
        """Remembers that the state that training goes on from is on the disk."""
        last = self._checkpoints.last()
        if last is not None and (last.name == FINAL or not trainer.finished):
            self._saved_at = trainer.step

    def after_step(self, trainer: Trainer, report: StepReport) -> None:
        """Writes a checkpoint when it is time; the last is for :meth:`after_run`."""
        if report.step % self._every == 0 and not trainer.finished:
            self._save(trainer)

    def after_run(self, trainer: Trainer) -> None:
        """Writes the final checkpoint, or that of the step that training was stopped after."""
        if self._saved_at != trainer.step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.require_finite()
        if comm.is_main():
            self._checkpoints.save(trainer.state(), final=trainer.finished)
        self._saved_at = trainer.step


class EvaluationHook(Hook):
    """Measures the model every so many steps and at the end, and writes what is found to the log of the run.

    To be put after the CheckpointHook: a measurement that fails then costs no training, and one that a kill cut short
    is made up for when the run goes on.

    Args:
        evaluate: Gives names and numbers. Every process calls it, and may take a share of the work; those of the first
            are written.
        metrics: The log of the run.
        every: Steps between two measurements; 0 only at the end.
        tell: Further ones who are told what is written, such as :class:`training.engine.run_log.TensorBoard`.
    """

    def __init__(
        self,
        evaluate: Callable[[], dict[str, float]],
        metrics: MetricsFile,
        *,
        every: int,
        tell: Sequence[Callable[[Line], None]] = (),
    ) -> None:
        self._evaluate = evaluate
        self._metrics = metrics
        self._every = every
        self._tell = (metrics.write, *tell)

    def before_run(self, trainer: Trainer) -> None:
        """Measures when that was due at the step that training goes on from, and was not done."""
        if trainer.step > 0 and not comm.any_over_workers(self._metrics.has_evaluation(trainer.step)):
            self._measure_if_due(trainer)

    def after_step(self, trainer: Trainer, report: StepReport) -> None:
        """Measures when it is time; the last time is for :meth:`after_run`."""
        if not trainer.finished:
            self._measure_if_due(trainer)

    def after_run(self, trainer: Trainer) -> None:
        """Measures the final model."""
        done = comm.any_over_workers(self._metrics.has_evaluation(trainer.step))
        if trainer.finished and not done:
            self._measure_if_due(trainer)

    def _measure_if_due(self, trainer: Trainer) -> None:
        if not (trainer.finished or (self._every and trainer.step % self._every == 0)):
            return
        trainer.model.eval()
        found = self._evaluate()
        trainer.model.train()
        comm.barrier()  # nobody begins a step while another still measures, and waits there for too long
        if comm.is_main():
            for tell in self._tell:
                tell({"step": trainer.step, "evaluation": found})


def resume_from(trainer: Trainer, checkpoints: Checkpoints) -> bool:
    """Goes on from the newest checkpoint, where there is one.

    Args:
        trainer: Not run yet.
        checkpoints: Of the run.

    Returns:
        Whether there was one. If not, training begins at the beginning, which is said.

    Raises:
        FileNotFoundError, ValueError: when the checkpoint is damaged, or when the run learned something else; see
            :class:`Checkpoints` and :func:`require_same_learning`.
    """
    path = checkpoints.last()
    if path is None:
        log.warning("%s has no checkpoint to go on from: training begins at the beginning", checkpoints.folder)
        return False
    state, config = checkpoints.load(path)
    require_same_learning(config, checkpoints.config, path)
    trainer.restore(state)
    if comm.is_main():
        log.info("going on from %s, after step %s", path, f"{state.step:,}")
    return True

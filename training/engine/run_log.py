"""What is told of a run as it goes: losses, speed and memory, to a file, TensorBoard and the terminal."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from training.engine import comm
from training.engine.metrics import MetricsFile
from training.engine.trainer import Hook, StepReport, Trainer

log = logging.getLogger(__name__)
LINE_EVERY_S = 30.0
"""Where there is no terminal, a line is printed at most so often."""
_HIDDEN = {"step", "steps", "grad_norm", "seconds", "data_seconds", "images_per_s"}  # from who looks at the progress
Line = Mapping[str, Any]
"""Of the log: ``step``, ``steps`` (averaged over), the losses, ``grad_norm``, ``lr``, ``seconds`` and ``data_seconds``
of a step, ``images_per_s`` of all processes, and ``memory_gb``, this process's largest so far."""


class LogHook(Hook):
    """Averages what steps report, and tells it once a period.

    Numbers stay on the device until then, so that no step waits for them.

    Args:
        metrics: The log of the run; lines of later steps than the run goes on from are removed from it.
        every: Steps of a period.
        tell: Further ones who are told each line, such as :class:`ProgressLine`.
    """

    def __init__(self, metrics: MetricsFile, *, every: int, tell: Sequence[Callable[[Line], None]] = ()) -> None:
        self._metrics = metrics
        self._every = every
        self._tell = (metrics.write, *tell)
        self._reports: list[StepReport] = []

    def before_run(self, trainer: Trainer) -> None:
        """Makes the log end where the run begins."""
        if comm.is_main():
            self._metrics.truncate_after(trainer.step)

    def after_step(self, trainer: Trainer, report: StepReport) -> None:
        """Tells a line when the period is over, or training."""
        self._reports.append(report)
        if report.step % self._every == 0 or trainer.finished:
            self._flush(trainer)

    def after_run(self, trainer: Trainer) -> None:
        """Tells what the last period had come to."""
        self._flush(trainer)

    def _flush(self, trainer: Trainer) -> None:
        if not self._reports:
            return
        line = period(self._reports, trainer.device)
        self._reports = []
        if comm.is_main():
            for tell in self._tell:
                tell(line)


def period(reports: Sequence[StepReport], device: torch.device) -> Line:
    """The line of some steps; every process must ask.

    Args:
        reports: At least one, with the same losses in all processes.
        device: Whose memory counts.
    """
    last = reports[-1]
    losses = {name: torch.stack([report.losses[name] for report in reports]).mean() for name in last.losses}
    # Losses are divided by means over the workers, so the mean of theirs is that of all images.
    means = comm.mean_over_workers(torch.stack([value.float() for value in losses.values()]))
    seconds = sum(report.step_s for report in reports)
    return {
        "step": last.step,
        "steps": len(reports),
        **dict(zip(losses, means.tolist(), strict=True)),
        "grad_norm": _mean([report.grad_norm for report in reports]),
        "lr": last.lr,
        "seconds": seconds / len(reports),
        "data_seconds": sum(report.data_s for report in reports) / len(reports),
        "images_per_s": comm.world_size() * sum(report.images for report in reports) / seconds,
        "memory_gb": _memory_gb(device),
    }


class ProgressLine:
    """Shows lines of the log on standard error: a bar on a terminal, elsewhere one now and then.

    Args:
        steps: Of the whole run.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        # Some terminals, of containers and scripts, have no width, and a bar has no place there.
        self._terminal = sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
        self._bar: tqdm[None] | None = None
        self._told_at = -float("inf")

    def __call__(self, line: Line) -> None:
        """Shows a line."""
        text = ", ".join(f"{name} {line[name]:.3g}" for name in line if name not in _HIDDEN)
        if not self._terminal:
            self._print(line, text)
            return
        if self._bar is None:  # what was done before counts for no speed
            self._bar = tqdm(
                total=self._steps, initial=line["step"], file=sys.stderr, mininterval=0, dynamic_ncols=True
            )
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(line["step"] - self._bar.n)
        if line["step"] == self._steps:
            self._bar.close()

    def _print(self, line: Line, text: str) -> None:
        now = time.monotonic()
        if now - self._told_at < LINE_EVERY_S and line["step"] < self._steps:
            return
        self._told_at = now
        left = (self._steps - line["step"]) * line["seconds"] / 60
        speed = f"{1 / line['seconds']:.2f} it/s, {left:.0f} min to go"
        print(f"step {line['step']:,} of {self._steps:,}: {text}, {speed}", file=sys.stderr, flush=True)


def tensorboard(folder: Path) -> list[TensorBoard]:
    """Who tells TensorBoard, for a LogHook; nobody when it is not installed, which is said.

    Args:
        folder: Where its files go.
    """
    try:
        return [TensorBoard(folder)]
    except ModuleNotFoundError:
        log.info("no files for TensorBoard are written; they need: pip install 'divide-and-conquer[tensorboard]'")
        return []


class TensorBoard:
    """Writes lines of the log for TensorBoard.

    Args:
        folder: Where its files go.

    Raises:
        ModuleNotFoundError: when TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __call__(self, line: Line) -> None:
        """Writes every number of a line, those of an evaluation too."""
        for name, value in {**line, **line.get("evaluation", {})}.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack(list(values)).mean())


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource  # Unix has it

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1e9 if sys.platform == "darwin" else 1e6)

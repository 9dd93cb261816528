"""The training loop: a batch, its losses, a step; everything else is a hook.

Deviation from the usual loop: before every step the random numbers of torch are seeded from the seed, the step and the
process, so that what a model draws in it (paths that are dropped) is a function of these. A resumed run therefore takes
the steps that an uninterrupted one takes, and a checkpoint holds no state of random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dico.interrupt import Interrupt
from training.config import OptimConfig
from training.engine import comm
from training.engine.checkpoint import TrainingState
from training.engine.optim import set_lr
from training.samples import Batch, StepLosses

Objective = Callable[[nn.Module, Batch], StepLosses]
"""What training lowers: calls the model that it is given, once, and compares what it says with the batch's targets."""
NOTICE = b"\nStopping after this step, with a checkpoint; press Ctrl-C again to leave at once.\n"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_REMEDY = "lower optim.lr, set optim.clip_norm (0.01 is published) or use optim.precision=float32"


class BatchSource(Protocol):
    """What batches come from."""

    def batches(self, start_step: int) -> Iterator[Batch]:
        """The batches of this process, from that of a step on, without end; the same ones however training began."""


@dataclass(frozen=True, eq=False)
class StepReport:
    """What is known after a step.

    Attributes:
        step: Steps done, this one among them.
        losses: float32 scalars on the device, without gradients: reading one waits for the GPU.
        grad_norm: Of the whole model before clipping, likewise.
        lr: The learning rate of what is not the backbone.
        images: How many this process looked at.
        data_s: Seconds spent waiting for the batch,
        step_s: and for all of the step, without hooks.
    """

    step: int
    losses: Mapping[str, Tensor]
    grad_norm: Tensor
    lr: float
    images: int
    data_s: float
    step_s: float


class Hook:
    """What is done beside the steps; every process calls it, so that processes may talk in it. Does nothing."""

    def before_run(self, trainer: Trainer) -> None:
        """Called once, after a checkpoint was restored."""

    def after_step(self, trainer: Trainer, report: StepReport) -> None:
        """Called after every step."""

    def after_run(self, trainer: Trainer) -> None:
        """Called once, when all steps are done or when training was asked to stop; not after an error."""

    def close(self) -> None:
        """Called last, after an error too."""


class Trainer:
    """Trains one model; with several processes, each makes a Trainer and they share the work.

    Args:
        model: On its device.
        objective: Its losses.
        source: Its batches.
        optimiser: Of :func:`training.engine.optim.build_optimiser`.
        config: Steps, schedule, clipping, precision.
        seed: Of what the model draws in training.
        hooks: Called in their order.

    Attributes:
        model: The plain model.
        source, optimiser, config, hooks: As given.
        device: That of the model.
        step: Steps done.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        source: BatchSource,
        optimiser: torch.optim.Optimizer,
        config: OptimConfig,
        *,
        seed: int = 0,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.model = model
        self.config = config
        self.step = 0
        self.device = next(model.parameters()).device
        self._objective = objective
        self.source = source
        self.optimiser = optimiser
        self._seed = seed
        self.hooks = tuple(hooks)
        self._wrapped = _distributed(model, self.device) if comm.several() else model
        self._learning = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self._grad_norm: Tensor | None = None

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.config.steps

    def run(self) -> bool:
        """Trains until all steps are done, or until Ctrl-C or SIGTERM: the step under way is finished then.

        Returns:
            Whether all steps are done.

        Raises:
            FloatingPointError: when the loss or the gradient is not finite; checkpoints stay as they are.
        """
        # Each of several processes may get a signal from the terminal and from the process that started it.
        alone = not comm.several()
        with ExitStack() as stack:
            for hook in self.hooks:
                stack.callback(hook.close)
            interrupt = stack.enter_context(Interrupt(NOTICE if alone else b"", twice_leaves=alone))
            for hook in self.hooks:
                hook.before_run(self)
            batches = self.source.batches(self.step)
            if isinstance(batches, Generator):
                stack.callback(batches.close)
            while not self.finished and not comm.any_over_workers(interrupt.requested):
                started = time.perf_counter()
                batch = next(batches)
                report = self.train_step(batch, started=started)
                for hook in self.hooks:
                    hook.after_step(self, report)
            for hook in self.hooks:
                hook.after_run(self)
        return self.finished

    def train_step(self, batch: Batch, *, started: float | None = None) -> StepReport:
        """One step.

        Args:
            batch: This process's share of its images, on any device.
            started: When the wait for the batch began, on the clock ``time.perf_counter``; None when there was none.

        Returns:
            Its report.

        Raises:
            FloatingPointError: when the loss is not finite, with the step, the images and remedies. The weights are
                those from before the step.
        """
        arrived = time.perf_counter()
        started = arrived if started is None else started
        torch.manual_seed(_step_seed(self._seed, self.step, comm.rank()))
        lr = set_lr(self.optimiser, self.step, self.config)
        self._wrapped.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._losses(batch)
        self._scaler.scale(losses.total).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimiser)
        limit = self.config.clip_norm or float("inf")
        self._grad_norm = nn.utils.clip_grad_norm_(self._learning, limit)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self.step += 1
        return StepReport(
            step=self.step,
            losses=losses.scalars(),
            grad_norm=self._grad_norm,
            lr=lr,
            images=len(batch),
            data_s=arrived - started,
            step_s=time.perf_counter() - started,
        )

    def require_finite(self) -> None:
        """Refuses weights that the last step may have made useless; to be called before they are kept.

        A gradient can overflow under a finite loss. The next loss would show it, but a checkpoint comes before that.

        Raises:
            FloatingPointError: when the last gradient was not finite.
        """
        # Loss scaling leaves out a step whose gradient is not finite.
        if self._grad_norm is None or self._scaler.is_enabled() or bool(self._grad_norm.isfinite()):
            return
        raise FloatingPointError(
            f"the gradient of step {self.step} must be finite, its norm is {self._grad_norm.item()}; {_REMEDY}. "
            "The checkpoints of before are as they were"
        )

    def state(self) -> TrainingState:
        """What a checkpoint holds; tensors are shared with the model and the optimiser, not copied."""
        return TrainingState(self.step, self.model.state_dict(), self.optimiser.state_dict(), self._scaler.state_dict())

    def restore(self, state: TrainingState) -> None:
        """Goes on from a checkpoint, in every process.

        Args:
            state: Of :meth:`state`, of a model and an optimiser that were built alike.

        Raises:
            RuntimeError, ValueError: when the weights or the optimiser's state are those of another model.
        """
        self.model.load_state_dict(dict(state.model))
        self.optimiser.load_state_dict(dict(state.optimiser))
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state.scaler))
        self.step = state.step

    def _losses(self, batch: Batch) -> StepLosses:
        dtype = _DTYPES[self.config.precision]
        try:
            with torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32):
                losses = self._objective(self._wrapped, batch.to(self.device, non_blocking=True))
            if not bool(losses.total.isfinite()):
                raise FloatingPointError(f"the loss must be finite, got {losses.total.item()}: training has diverged")
        except FloatingPointError as error:
            raise FloatingPointError(
                f"step {self.step + 1}, images {', '.join(batch.keys)}: {error}; {_REMEDY}. "
                "The checkpoints of before are as they were"
            ) from error
        return losses


def _distributed(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)


def _step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for one process in one step, unlike those of its neighbours."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0])

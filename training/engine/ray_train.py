"""Training on a Ray cluster: Ray Train starts the processes and connects them; what they run is the loop of any engine.

Checkpoints stay ours: who trains goes on from ``last_checkpoint``, and Ray is told of none. A worker that dies takes
its group with it, as the others wait for its gradients; a new group goes on from the last checkpoint. It is started
here, as :mod:`training.engine.launch` does, and not by Ray: that would try again after any error, also after one
that comes back, and would not say what happened.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

try:
    import ray.train
    from ray.exceptions import RayActorError, RayError
    from ray.train.torch import TorchConfig, TorchTrainer
except ImportError as error:
    raise ImportError(f"engine=ray needs Ray Train ({error}): pip install 'divide-and-conquer[ray-train]'") from error

from dico.cluster.connection import connection
from dico.cluster.deaths import reason_of
from training.engine.metrics import METRICS, MetricsFile
from training.engine.run_log import Line
from training.engine.worker import Main, WorkerError, lost_a_peer

log = logging.getLogger(__name__)

RESTARTS = 3
NOTES = "ray"
"""Folder, within that of the run, in which Ray Train makes sure that the machines share it."""
FOLLOW_S = 2.0
"""How often the log is looked at."""


def train_on_ray(
    main: Main,
    *,
    num_workers: int,
    folder: Path,
    address: str | None = None,
    gpus: bool = False,
    restarts: int = RESTARTS,
    tell: Callable[[Line], None] | None = None,
) -> None:
    """Runs a function in workers of a Ray cluster, with ``torch.distributed`` between them, until all have returned.

    Data, weights and ``folder`` must be seen under the same paths by all machines. What workers print stays with Ray;
    how far they are is told from the log that they write to ``folder``.

    Args:
        main: What each worker runs, in the working directory of this process.
        num_workers: Processes, each on a CPU of the cluster.
        folder: Of the run.
        address: None or ``"local"`` starts a cluster on this machine, which ends with the training; ``"auto"`` or
            ``"HOST:PORT"`` joins one that runs, and this machine must be part of it.
        gpus: Each worker has a GPU of its own, and talks by NCCL; else by gloo.
        restarts: After so many deaths, the next one ends the training.
        tell: Is told each line of the log, in a thread, soon after it was written.

    Raises:
        ConnectionError: when the cluster cannot be joined; says what to do.
        WorkerError: when workers died too often, or could not be started.
        Exception: what ``main`` raised; that would come back, and is not tried again.
        KeyboardInterrupt: after Ctrl-C, with the workers stopped.
        ValueError: when ``num_workers`` or ``restarts`` is too small.
    """
    if num_workers < 1 or restarts < 0:
        raise ValueError(f"num_workers must be at least 1 and restarts at least 0, got {num_workers} and {restarts}")
    folder.mkdir(parents=True, exist_ok=True)
    told = _followed(MetricsFile(folder / METRICS), tell)
    with connection(None if address == "local" else address, num_workers), told:
        _warn_of_waiting(num_workers, "GPU" if gpus else "CPU")
        for attempt in range(restarts + 1):
            trainer = TorchTrainer(
                partial(_in_folder, str(Path.cwd()), main, attempt),
                torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo"),
                scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=gpus),
                run_config=_run_config(folder),
            )
            death = _fit(trainer)
            if death is None:
                return
            log.warning("attempt %d of %d ended: %s", attempt + 1, restarts + 1, death)
    raise WorkerError(f"training died {restarts + 1} times: {death}. --resume goes on from the last checkpoint")


@contextmanager
def _followed(metrics: MetricsFile, tell: Callable[[Line], None] | None) -> Iterator[None]:
    """Tells lines as they are written within the block, each step once, however often it is taken."""
    over = threading.Event()

    def follow() -> None:
        told = max((line["step"] for line in metrics.read()), default=0)
        while True:
            last_look = over.wait(FOLLOW_S)
            for line in metrics.read():
                if tell is not None and "loss" in line and line["step"] > told:
                    told = line["step"]
                    tell(line)
            if last_look:
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        over.set()
        follower.join()


def _run_config(folder: Path) -> ray.train.RunConfig:
    # Their types are those of Ray Train before its second version, which has more options.
    failures = ray.train.FailureConfig(max_failures=0, max_preemption_failures=0)  # type: ignore[call-arg]
    quiet = ray.train.LoggingConfig(log_level="CRITICAL")
    storage = str(folder.absolute())
    return ray.train.RunConfig(name=NOTES, storage_path=storage, failure_config=failures, logging_config=quiet)  # type: ignore[call-arg]


def _warn_of_waiting(num_workers: int, unit: str) -> None:
    there = int(ray.cluster_resources().get(unit, 0))
    if there < num_workers:
        log.warning("the Ray cluster has %d %ss for %d workers: training waits for more", there, unit, num_workers)


def _fit(trainer: TorchTrainer) -> str | None:
    """Who died, in words; None when all is done. Raises what the function raised."""
    try:
        with _own_sigint():
            trainer.fit()
    except ray.train.WorkerGroupError as error:
        failures = sorted(error.worker_failures.items())
        for _, failure in failures:
            if not (_is_of_ray(failure) or lost_a_peer(failure)):
                raise failure from error
        # What the others say is that they lost the one that died.
        rank, failure = next((one for one in failures if _is_of_ray(one[1])), failures[0])
        return f"worker {rank} was {reason_of(str(failure))}"
    except ray.train.TrainingFailedError as error:
        cause = getattr(error, "controller_failure", None)  # without one, a machine was taken away
        if cause is None or isinstance(cause, RayActorError):
            return f"a worker was {reason_of(str(cause or error))}"
        raise WorkerError(f"workers could not be started: {cause}") from error
    except SystemExit as error:  # how Ray ends a process after Ctrl-C
        raise KeyboardInterrupt from error
    return None


def _is_of_ray(failure: Exception) -> bool:
    return isinstance(failure, RayError) or type(failure).__module__.startswith("ray.")


@contextmanager
def _own_sigint() -> Iterator[None]:
    """Ctrl-C does after the block what it did before: Ray takes it over, and does not give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _in_folder(cwd: str, main: Main, attempt: int) -> None:
    """Runs in a worker: Ray puts it into a folder of its own, where relative paths lead nowhere."""
    try:
        os.chdir(cwd)
    except OSError as error:
        raise ValueError(
            f"{cwd} cannot be entered on {socket.gethostname()} ({error}): all machines must share the folder that"
            " training is started in"
        ) from error
    main(attempt)

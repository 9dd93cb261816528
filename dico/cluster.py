"""The executor whose workers are actors of a Ray cluster: one that runs already, or one made here for the run.

Ray Core gives processes on many machines and messages between them. All else is as on one machine: the supervisor hands
out one task at a time, and replaces who dies. Rows travel back to the driver; masks never leave the actor that made
them. An actor is given nothing before its ``ready`` has answered: one that waits for a free CPU, as a replacement does
after the loss of a machine, would keep its task for ever.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeAlias

try:
    import ray
except ImportError as error:
    raise ImportError("the ray executor needs ray: pip install 'divide-and-conquer[ray]'") from error
from ray import cloudpickle
from ray import exceptions as errors

from dico.cluster_actors import ExtractorGoneError, FeatureActor, Home, Kit, LabelActor, Unfit, Unseen, num_extractors
from dico.cluster_address import REMEDY, check_answers, host_port, listens
from dico.cluster_deaths import died_with_its_node, last_words, lost_with_node, reason_of
from dico.cluster_patience import Patience, free_resources, patiently
from dico.cluster_quiet import hushed, kept_environment, kept_signals, silenced
from dico.executors.pool import PoolExecutor
from dico.executors.remote_extractor import Answer
from dico.executors.supervisor import MAX_FAILED_STARTS, Broken, Died, Done, Event, Ready, Supervisor
from dico.executors.threads import ENVIRONMENT
from dico.image import Image
from dico.job import Job
from dico.task import Failed, Lost, Task

log = logging.getLogger(__name__)

DOUBT_S = 30.0
"""An actor that cannot be reached for so long is given up."""
FETCH_S = 60.0
"""A result that is there, and cannot be fetched in so long, is lost."""
STORE_BYTES = 500_000_000
"""Of shared memory, for a cluster of our own; only features pass through it."""
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

ObjectRef: TypeAlias = Any
Actor: TypeAlias = Any


class RayExecutor:
    """Does the work in actors of a Ray cluster.

    Args:
        address: None or ``"local"`` starts a cluster on this machine, which ends with the session; ``"auto"`` or
            ``"HOST:PORT"`` joins one that runs, and this machine must be part of it. A process that is connected to Ray
            already stays so, and is used when the address says nothing else.
        num_workers: Actors that label, each on a CPU of the cluster; None for as many as it has. Those that find no
            free CPU wait for one while the others work, and make a cluster that can grow.
        timeout_s: A task that takes longer has failed, and its actor is killed; 0 or None waits for ever.
        gpus_per_actor: Of each actor that extracts features, for a job that shares them: 0.5 has two on a GPU; 0 has
            one on no GPU, on the device that the job names.

    Raises:
        ValueError: when a value is out of range, or the address is none.
    """

    def __init__(
        self,
        address: str | None = None,
        num_workers: int | None = None,
        *,
        timeout_s: float | None = None,
        gpus_per_actor: float = 1.0,
    ) -> None:
        if num_workers is not None and num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        if timeout_s is not None and timeout_s < 0:
            raise ValueError(f"timeout_s must be at least 0, got {timeout_s}")
        if gpus_per_actor < 0 or (gpus_per_actor > 1 and gpus_per_actor % 1):
            raise ValueError(f"gpus_per_actor must be a share of a GPU or a whole number, got {gpus_per_actor}")
        self.address = None if address == "local" else address
        if self.address not in (None, "auto"):
            host_port(self.address)
        self.num_workers = num_workers
        self.timeout_s = timeout_s or None
        self.gpus_per_actor = gpus_per_actor

    def __str__(self) -> str:
        where = "on this machine" if self.address is None else f"of the cluster at {self.address}"
        if ray.is_initialized():
            nodes = sum(node["Alive"] for node in ray.nodes())
            where = f"on {nodes} node{'s' * (nodes != 1)}"
        return f"{self.num_workers or ''} Ray actors {where}".lstrip()

    @contextmanager
    def session(self, job: Job) -> Iterator[Supervisor]:
        """Actors that do a job's work; they start when there are tasks.

        Args:
            job: Picklable; functions of the main script may be part of it.

        Raises:
            ConnectionError: when the cluster cannot be joined; says what to do.
            TypeError: when the job cannot be pickled.
            ValueError: when the job shares an extractor and there is no GPU, or this process is in another cluster.
        """
        kit = Kit.of(job, cloudpickle.dumps)
        with _connection(self.address, self.num_workers):
            num_workers = self.num_workers or max(1, int(ray.cluster_resources().get("CPU", 0)))
            gpus = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
            extractors = num_extractors(gpus, self.gpus_per_actor) if job.shares_extractor else None
            with RayWorkers(kit, extractors, gpus=self.gpus_per_actor) as workers:
                yield Supervisor(workers, num_workers, timeout_s=self.timeout_s)


class RayWorkers:
    """Actors of the cluster that this process is connected to, as :class:`dico.executors.supervisor.Workers` says.

    Args:
        kit: What they start with.
        num_extractors: Actors that extract features for those that label; None when these make their own.
        gpus: Of each extractor.

    Attributes:
        homes: Where the ready ones live, by number of the worker.
    """

    def __init__(self, kit: Kit, num_extractors: int | None = None, *, gpus: float = 0.0) -> None:
        self._kit = ray.put(kit)
        self._extractors = None if num_extractors is None else Extractors(self._kit, num_extractors, gpus=gpus)
        self._class = _actor_class(LabelActor, num_cpus=1)
        self._numbers = count()
        self._actors: dict[int, Actor] = {}
        self._calls: dict[ObjectRef, int] = {}
        self.homes: dict[int, Home] = {}
        self._held: list[int] = []
        self._doubted_since: dict[int, float] = {}
        self._lost_nodes: set[str] = set()
        self._patience = Patience()

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._actors):
            self.kill(worker)
        if self._extractors is not None:
            self._extractors.close()

    def start(self) -> int:
        """Asks Ray for an actor, which gets a CPU when one is free."""
        worker = next(self._numbers)
        self._actors[worker] = self._class.remote(_node_id, _ask)
        self._calls[self._actors[worker].ready.remote(self._kit)] = worker
        return worker

    def give(self, worker: int, task: Task) -> None:
        """Gives a worker a task, and the extractors that it may ask."""
        extractors = [] if self._extractors is None else self._extractors.in_turn(worker)
        self._calls[self._actors[worker].do.remote(task, extractors)] = worker

    def kill(self, worker: int) -> None:
        """Kills a worker and forgets it."""
        ray.kill(self._actors.pop(worker), no_restart=True)
        self._calls = {call: number for call, number in self._calls.items() if number != worker}
        self.homes.pop(worker, None)
        self._doubted_since.pop(worker, None)
        self._held = [number for number in self._held if number != worker]

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What workers answered, and who died."""
        calls = [*self._calls, *(self._extractors.calls if self._extractors else ())]
        if not calls:
            time.sleep(timeout_s)
            return []
        answered, others = ray.wait(calls, num_returns=1, timeout=timeout_s)
        if answered and others:
            answered += ray.wait(others, num_returns=len(others), timeout=0)[0]
        events: list[Event] = []
        for call in answered:
            if (worker := self._calls.pop(call, None)) is not None:
                events += self._heard(worker, call)
            elif self._extractors is not None and (story := self._extractors.heard(call)):
                events.append(Broken(-1, story))
        self._say_what_is_missing()
        return [*events, *self._released()]

    def _released(self) -> list[Event]:
        """Workers are ready when there is somebody to give them features."""
        if self._extractors is not None and not self._extractors.ready:
            return []
        released, self._held = self._held, []
        return [Ready(worker) for worker in released]

    def _heard(self, worker: int, call: ObjectRef) -> list[Event]:
        try:
            said: Any = ray.get(call, timeout=FETCH_S)
        except errors.RayError as error:
            return self._failed(worker, error)
        if worker in self._doubted_since:  # it lives, and what became of its task is not known
            return self._buried(worker, Lost("out of reach for a while", blameless=True))
        match said:
            case Home():
                self.homes[worker] = said
                self._held.append(worker)
                return []
            case Unfit(story):
                return [Broken(worker, story)]
            case Lost():
                return self._buried(worker, said)
            case Unseen(outcome=outcome):
                return [Broken(worker, said.complaint) if said.folder.is_dir() else Done(worker, outcome)]
            case _:
                return [Done(worker, said)]

    def _failed(self, worker: int, error: errors.RayError) -> list[Event]:
        """What a call that gave no answer tells of the worker."""
        home, message = self.homes.get(worker), str(error)
        actor_died = isinstance(error, (errors.RayActorError, errors.OutOfMemoryError))
        if (home is None and not actor_died) or getattr(error, "actor_init_failed", False):
            return [Broken(worker, f"an actor could not be made: {message}")]
        host = home.host if home else ""
        if died_with_its_node(message) or (home and self._is_lost(home.node)):
            return self._buried(worker, lost_with_node(host))
        if isinstance(error, errors.ActorUnavailableError):
            since = self._doubted_since.setdefault(worker, time.monotonic())
            if time.monotonic() < since + DOUBT_S:
                self._calls[self._actors[worker].alive.remote()] = worker
                return []
            return self._buried(worker, Lost(f"out of reach for {DOUBT_S:.0f} s", blameless=True))
        if isinstance(error, (errors.ObjectLostError, errors.GetTimeoutError)):
            return self._buried(worker, Lost("lost: its answer did not arrive", blameless=True))
        if isinstance(error, errors.RayTaskError):
            return [Done(worker, Failed("error", f"{type(error.cause).__name__}: {error.cause}", message))]
        words = last_words(host, home.stderr) if home else ""
        return self._buried(worker, Lost(reason_of(message, words), words))

    def _buried(self, worker: int, lost: Lost) -> list[Event]:
        self.kill(worker)
        return [Died(worker, lost)]

    def _is_lost(self, node: str) -> bool:
        """Whether a node is gone; the cluster itself takes a quarter of a minute to find out."""
        if node not in self._lost_nodes:
            known = {entry["NodeID"]: entry for entry in ray.nodes()}.get(node)
            if known and known["Alive"] and listens(known["NodeManagerAddress"], known["NodeManagerPort"]):
                return False
            log.warning("a machine of the cluster was lost: %s", known["NodeManagerHostname"] if known else node)
            self._lost_nodes.add(node)
        return True

    def _say_what_is_missing(self) -> None:
        no_extractor = self._extractors is not None and not self._extractors.ready
        if not self._patience.runs_out(bool(self._actors) and (not self.homes or no_extractor)):
            return
        numbers = free_resources(ray.available_resources(), ray.cluster_resources())
        who = "extracts features" if no_extractor else "labels"
        log.warning("no actor that %s is ready yet; the run goes on when one is; %s", who, numbers)


class Extractors:
    """Actors that extract features for those that label.

    Args:
        kit: What they start with, put into the object store.
        number: How many.
        gpus: Of each.

    Attributes:
        ready: Those that can be asked.
        calls: Calls to be waited for, of whose answers :meth:`heard` wants to hear.
    """

    def __init__(self, kit: ObjectRef, number: int, *, gpus: float) -> None:
        self._kit = kit
        self._device = "cuda" if gpus else None
        self._class = _actor_class(FeatureActor, num_cpus=0, num_gpus=gpus, concurrency_groups={"watch": 1})
        self._failed_starts = 0
        self.ready: list[Actor] = []
        self.calls: dict[ObjectRef, Actor] = {}
        for _ in range(number):
            self._start()

    def in_turn(self, worker: int) -> list[Actor]:
        """All that can be asked; each worker begins with another one."""
        first = worker % max(1, len(self.ready))
        return self.ready[first:] + self.ready[:first]

    def heard(self, call: ObjectRef) -> str | None:
        """Takes the answer to one of the calls; the reason, when there will be no extractors."""
        actor = self.calls.pop(call)
        try:
            said = ray.get(call, timeout=FETCH_S)
        except errors.RayError as error:
            return self._replace(actor, error)
        if isinstance(said, Unfit):
            return said.story
        self._failed_starts = 0
        self.ready.append(actor)
        self.calls[actor.watch.options(concurrency_group="watch").remote()] = actor
        return None

    def close(self) -> None:
        """Kills them all."""
        for actor in self.calls.values():
            ray.kill(actor, no_restart=True)

    def _start(self) -> None:
        actor = self._class.remote(_node_id)
        self.calls[actor.ready.remote(self._kit, self._device)] = actor

    def _replace(self, actor: Actor, error: errors.RayError) -> str | None:
        reason = reason_of(str(error))
        log.warning("an actor that extracts features died: %s", reason)
        ray.kill(actor, no_restart=True)
        if actor in self.ready:
            self.ready.remove(actor)
        else:
            self._failed_starts += not died_with_its_node(str(error))
        if self._failed_starts >= MAX_FAILED_STARTS:
            return f"{MAX_FAILED_STARTS} extractors in a row died before they were ready, the last of them {reason}"
        self._start()
        return None


def _actor_class(of: type, **options: Any) -> Any:
    """Ray must not restart or retry by itself, as it would for ever with an image that crashes every process."""
    as_actor: Any = ray.remote(  # typed for functions with few options only
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": dict(ENVIRONMENT)},
        **options,
    )
    return as_actor(of)


def _node_id() -> str:
    return str(ray.get_runtime_context().get_node_id())


def _ask(extractor: Actor, images: tuple[Image, ...], size: int | None) -> Answer:
    """Calls an extractor from the actor of a worker; see :data:`dico.cluster_actors.Ask`."""
    begun = False
    # One answer at a time: it begins when we know that it does.
    streaming: dict[str, Any] = {"num_returns": "streaming", "_generator_backpressure_num_objects": 1}
    answers = extractor.extract.options(**streaming).remote(images, size)
    try:
        ray.get(next(answers))
        begun = True
        # Ray's arrays are read-only windows on shared memory: a copy is like any other array, and gives that back.
        answer: Answer = copy.deepcopy(ray.get(next(answers)))
    except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
        raise ExtractorGoneError(begun) from error
    return answer


@contextmanager
def _connection(address: str | None, num_workers: int | None) -> Iterator[None]:
    """This process is connected to a cluster within the block, and afterwards as it was before."""
    if ray.is_initialized():
        present = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", present):
            raise ValueError(f"this process is connected to the Ray cluster at {present} already, got {address!r}")
        yield
        return
    with hushed(), kept_environment():
        try:
            with kept_signals():
                if address is None:
                    _start_here(num_workers)
                else:
                    _join(address)
            yield
        finally:
            with silenced():
                ray.shutdown()


def _start_here(num_workers: int | None) -> None:
    num_cpus = PoolExecutor(num_workers).num_workers  # as many as cores and memory allow
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, object_store_memory=STORE_BYTES, **QUIET)


def _join(address: str) -> None:
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if address != "auto":
        check_answers(address)
    doubt = (
        f"no answer from the Ray cluster at {address} yet; its port is that of ray start (6379), not the dashboard's"
    )
    try:
        with patiently(doubt):
            ray.init(address=address, **QUIET)
    except (OSError, RuntimeError, ValueError, errors.RayError) as error:
        raise ConnectionError(f"the Ray cluster at {address} could not be joined ({error}): {REMEDY}") from error

"""Workers that are actors: what they answer, who died, and of what."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import ray
from ray import exceptions as errors

from dico.cluster.actors import ActorInfo, CannotStart, FolderNotVisible, LabelActor
from dico.cluster.deaths import died_with_its_node, last_words, lost_of, lost_with_node
from dico.cluster.job_package import JobPackage
from dico.cluster.remote import FETCH_S, RESULT_LOST, Actor, Extractors, ObjectRef, actor_class, ask, node_id
from dico.executors.supervisor import Broken, Died, Done, Event, GaveBack, Ready
from dico.task import Failed, Lost, Task

DOUBT_S = 30.0
"""An actor that cannot be reached for so long is given up."""
FRESH_S = 0.1
"""A worker that answered so short a time ago is taken to be alive; one that was idle for longer is asked."""
REST_S = 2.0
"""A worker whose extractor went away gets no task for so long: the death is known to all by then."""
REFUSAL_S = 1.0
"""A machine of the same network whose node is gone refuses a connection sooner than this."""


class RayWorkers:
    """Actors of the cluster that this process is connected to, as :class:`dico.executors.supervisor.Workers` says.

    Args:
        package: What they start with.
        num_extractors: Actors that extract features for those that label; None when these make their own.
        gpus: Of each extractor.

    Attributes:
        infos: Where the ready ones are, by number of the worker.
    """

    def __init__(self, package: JobPackage, num_extractors: int | None = None, *, gpus: float = 0.0) -> None:
        self._package = ray.put(package)
        self._extractors = None if num_extractors is None else Extractors(self._package, num_extractors, gpus=gpus)
        self._class = actor_class(LabelActor, num_cpus=1)
        self._numbers = count()
        self._actors: dict[int, Actor] = {}
        self._calls: dict[ObjectRef, int] = {}
        self._answered_at: dict[int, float] = {}
        self._alive: dict[int, ObjectRef] = {}  # answers that tasks wait for, of workers that were idle
        self.infos: dict[int, ActorInfo] = {}
        self._resting_until: dict[int, float] = {}  # of those that are to be ready when there is an extractor
        self._doubted_since: dict[int, float] = {}
        self._gone: dict[str, bool] = {}  # nodes, as far as they were asked in this wait

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
        self._actors[worker] = self._class.remote(node_id, ask)
        self._calls[self._actors[worker].ready.remote(self._package)] = worker
        return worker

    def give(self, worker: int, task: Task) -> None:
        """Gives a worker a task, and the extractors that it may ask."""
        actor = self._actors[worker]
        extractors = [] if self._extractors is None else self._extractors.in_turn(worker)
        if time.monotonic() < self._answered_at[worker] + FRESH_S:
            self._calls[actor.do.remote(task, extractors)] = worker
            return
        # Ray sends the task when the worker has answered: one that died while it was idle cannot be blamed on it.
        self._alive[worker] = actor.alive.remote()
        self._calls[actor.do.remote(task, extractors, self._alive[worker])] = worker

    def kill(self, worker: int) -> None:
        """Kills a worker and forgets it."""
        ray.kill(self._actors.pop(worker), no_restart=True)
        self._calls = {call: number for call, number in self._calls.items() if number != worker}
        for of_worker in (self._answered_at, self._alive, self.infos, self._resting_until, self._doubted_since):
            of_worker.pop(worker, None)

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What workers answered, and who died."""
        calls = [*self._calls, *(self._extractors.calls if self._extractors else ())]
        if not calls:
            time.sleep(timeout_s)
            return self._rested()
        answered, others = ray.wait(calls, num_returns=1, timeout=timeout_s)
        if answered and others:
            answered += ray.wait(others, num_returns=len(others), timeout=0)[0]
        self._gone.clear()
        events: list[Event] = []
        for call in answered:
            if (worker := self._calls.pop(call, None)) is not None:
                events += self._receive(worker, call)
            elif self._extractors is not None and (error := self._extractors.receive(call)):
                events.append(Broken(-1, error))
        return [*events, *self._rested()]

    def shortage(self) -> str:
        """What is free in the cluster, and whether extractors are what is missing."""
        free = free_resources(ray.available_resources(), ray.cluster_resources())
        if self._extractors is not None and not self._extractors.ready:
            return f"no actor that extracts features is ready; {free}"
        return free

    def _receive(self, worker: int, call: ObjectRef) -> list[Event]:
        try:
            answer: Any = ray.get(call, timeout=FETCH_S)
        except errors.RayError as error:
            return self._failed(worker, error)
        if worker in self._doubted_since:  # it lives, and what became of its task is not known
            return self._end(worker, Lost("out of reach for a while", blameless=True))
        self._answered_at[worker] = time.monotonic()
        self._alive.pop(worker, None)
        match answer:
            case ActorInfo():
                self.infos[worker] = answer
                self._resting_until[worker] = 0.0
                return []
            case CannotStart(error=reason):
                return [Broken(worker, reason)]
            case Lost():
                return self._give_back(worker, answer)
            case FolderNotVisible(outcome=outcome):
                return [Broken(worker, answer.complaint) if answer.folder.is_dir() else Done(worker, outcome)]
            case _:
                return [Done(worker, answer)]

    def _failed(self, worker: int, error: errors.RayError) -> list[Event]:
        """What a call that gave no answer tells of the worker."""
        info, message = self.infos.get(worker), str(error)
        if isinstance(error, RESULT_LOST):
            return self._end(worker, Lost("lost: its answer did not arrive", blameless=True))
        actor_died = isinstance(error, (errors.RayActorError, errors.OutOfMemoryError))
        if (info is None and not actor_died) or getattr(error, "actor_init_failed", False):
            return [Broken(worker, f"an actor could not be made: {message}")]
        host = info.host if info else ""
        if died_with_its_node(message) or (info and self._is_gone(info.node)):
            return self._end(worker, lost_with_node(host))
        if isinstance(error, errors.ActorUnavailableError):
            since = self._doubted_since.setdefault(worker, time.monotonic())
            if time.monotonic() < since + DOUBT_S:
                self._calls[self._actors[worker].alive.remote()] = worker
                return []
            return self._end(worker, Lost(f"out of reach for {DOUBT_S:.0f} s", blameless=True))
        was_idle = info is not None and not self._has_begun(worker)
        if isinstance(error, errors.RayTaskError):
            if was_idle:  # it lives, and could not be asked
                return self._give_back(worker, Lost("out of reach for a while", blameless=True))
            return [Done(worker, Failed("error", f"{type(error.cause).__name__}: {error.cause}", message))]
        words = last_words(host, info.stderr) if info else ""
        return self._end(worker, lost_of(message, words, blameless=was_idle))

    def _has_begun(self, worker: int) -> bool:
        """Whether a worker was alive to get its task."""
        try:
            if worker in self._alive:
                ray.get(self._alive[worker], timeout=0)
        except errors.RayError:
            return False
        return True

    def _give_back(self, worker: int, lost: Lost) -> list[Event]:
        self._alive.pop(worker, None)
        self._resting_until[worker] = time.monotonic() + REST_S
        return [GaveBack(worker, lost)]

    def _end(self, worker: int, lost: Lost) -> list[Event]:
        self.kill(worker)
        return [Died(worker, lost)]

    def _rested(self) -> list[Event]:
        """Workers are ready when there is somebody to give them features."""
        if self._extractors is not None and not self._extractors.ready:
            return []
        now = time.monotonic()
        rested = [worker for worker, until in self._resting_until.items() if until <= now]
        for worker in rested:
            del self._resting_until[worker]
        return [Ready(worker) for worker in rested]

    def _is_gone(self, node: str) -> bool:
        """Whether a node is gone; the cluster itself takes a quarter of a minute to find out.

        One that gives no answer may only be busy: a node that the cluster believes in must refuse to be believed gone.
        """
        if node not in self._gone:
            entry = next((entry for entry in ray.nodes() if entry["NodeID"] == node), None)
            self._gone[node] = not (entry and entry["Alive"]) or _refuses(
                entry["NodeManagerAddress"], entry["NodeManagerPort"]
            )
        return self._gone[node]


def free_resources(free: Mapping[str, float], whole: Mapping[str, float]) -> str:
    """How much of a cluster waits for work, in words.

    Example:
        >>> free_resources({"CPU": 3.0}, {"CPU": 4.0, "GPU": 1.0})
        '3 of 4 CPUs and 0 of 1 GPUs of the cluster are free'
    """
    parts = [f"{free.get(name, 0):g} of {whole.get(name, 0):g} {name}s" for name in ("CPU", "GPU")]
    return f"{' and '.join(parts)} of the cluster are free"


def _refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=REFUSAL_S).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)
    return False

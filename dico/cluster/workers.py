"""Workers that are actors: what they answer, who died, and of what."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

import ray
from ray import exceptions as errors

from dico.cluster.actors import Home, Kit, LabelActor, Unfit, Unseen
from dico.cluster.address import listens
from dico.cluster.deaths import died_with_its_node, last_words, lost_of, lost_with_node
from dico.cluster.extractors import Extractors
from dico.cluster.patience import Patience, free_resources
from dico.cluster.remote import FETCH_S, Actor, ObjectRef, actor_class, ask, node_id
from dico.executors.supervisor import Broken, Died, Done, Event, Ready
from dico.task import Failed, Lost, Task

log = logging.getLogger(__name__)

DOUBT_S = 30.0
"""An actor that cannot be reached for so long is given up."""


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
        self._class = actor_class(LabelActor, num_cpus=1)
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
        self._actors[worker] = self._class.remote(node_id, ask)
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
        return self._buried(worker, lost_of(message, words))

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

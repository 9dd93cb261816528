"""Actors that extract features for those that label: few, each with a GPU or a share of one."""

from __future__ import annotations

import logging

import ray
from ray import exceptions as errors

from dico.cluster.actors import FeatureActor, Unfit
from dico.cluster.deaths import died_with_its_node, reason_of
from dico.cluster.remote import FETCH_S, Actor, ObjectRef, actor_class, node_id
from dico.executors.supervisor import MAX_FAILED_STARTS

log = logging.getLogger(__name__)


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
        self._class = actor_class(FeatureActor, num_cpus=0, num_gpus=gpus, concurrency_groups={"watch": 1})
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
        actor = self._class.remote(node_id)
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

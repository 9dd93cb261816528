"""Actors as Ray has them: how they are made, how one calls another, and those that extract features for the others."""

from __future__ import annotations

import copy
import logging
from typing import Any, TypeAlias

import ray
from ray import exceptions as errors

from dico.cluster.actors import CannotStart, ExtractorGoneError, FeatureActor
from dico.cluster.deaths import died_with_its_node, reason_of
from dico.executors.remote_extractor import Answer
from dico.executors.supervisor import MAX_FAILED_STARTS
from dico.image import Image
from dico.threads import ENVIRONMENT

log = logging.getLogger(__name__)

FETCH_S = 60.0
"""A result that is there, and cannot be fetched in so long, is lost."""
RESULT_LOST = (errors.ObjectLostError, errors.GetTimeoutError)
"""What is raised when a result was there and did not arrive: nobody died of that."""

ObjectRef: TypeAlias = Any
Actor: TypeAlias = Any


def actor_class(of: type, **options: Any) -> Any:
    """A class as Ray makes actors of it.

    Ray must not restart or retry by itself, as it would for ever with an image that crashes every process.
    """
    as_actor: Any = ray.remote(  # typed for functions with few options only
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": dict(ENVIRONMENT)},
        **options,
    )
    return as_actor(of)


def node_id() -> str:
    """Ray's id of the node that this actor is on."""
    return str(ray.get_runtime_context().get_node_id())


def ask(extractor: Actor, images: tuple[Image, ...], size: int | None) -> Answer:
    """Calls an extractor from the actor of a worker; see :data:`dico.cluster.actors.Ask`."""
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


class Extractors:
    """Actors that extract features for those that label: few, each with a GPU or a share of one.

    Args:
        package: What they start with, put into the object store.
        number: How many.
        gpus: Of each.

    Attributes:
        ready: Those that can be asked.
        calls: Calls to be waited for; :meth:`receive` takes the answers.
    """

    def __init__(self, package: ObjectRef, number: int, *, gpus: float) -> None:
        self._package = package
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

    def receive(self, call: ObjectRef) -> str | None:
        """Takes the answer to one of the calls; the reason, when there will be no extractors."""
        actor = self.calls.pop(call)
        try:
            answer = ray.get(call, timeout=FETCH_S)
        except errors.RayError as error:
            return self._replace(actor, error)
        if isinstance(answer, CannotStart):
            return answer.error
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
        self.calls[actor.ready.remote(self._package, self._device)] = actor

    def _replace(self, actor: Actor, error: errors.RayError) -> str | None:
        reason = reason_of(str(error))
        log.warning("an actor that extracts features died: it was %s", reason)
        ray.kill(actor, no_restart=True)
        if actor in self.ready:
            self.ready.remove(actor)
        elif not died_with_its_node(str(error)) and not isinstance(error, RESULT_LOST):
            self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            return f"{MAX_FAILED_STARTS} extractors in a row died before they were ready, the last of them {reason}"
        self._start()
        return None

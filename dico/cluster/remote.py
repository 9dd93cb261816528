"""What only Ray can do for an actor: make it, say where it is, and call another one."""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import ray
from ray import exceptions as errors

from dico.cluster.actors import ExtractorGoneError
from dico.executors.remote_extractor import Answer
from dico.executors.threads import ENVIRONMENT
from dico.image import Image

FETCH_S = 60.0
"""A result that is there, and cannot be fetched in so long, is lost."""

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

"""Which of the training processes this is, and what they say to one another beside gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")


def several() -> bool:
    """Whether other processes train the same model."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if several() else 0


def world_size() -> int:
    """How many processes train the same model."""
    return distributed.get_world_size() if several() else 1


def local_rank() -> int:
    """The number of this process on its machine, from 0: the GPU that is its own."""
    return int(os.environ.get("LOCAL_RANK", "0")) if several() else 0


def is_main() -> bool:
    """Whether this process writes what is written once."""
    return rank() == 0


def barrier() -> None:
    """Waits until all processes are here."""
    any_over_workers(False)


def any_over_workers(flag: bool) -> bool:
    """Whether it is so in any process; all of them must ask."""
    if not several():
        return flag
    found = torch.tensor([int(flag)], dtype=torch.int32, device=_device())
    distributed.all_reduce(found, distributed.ReduceOp.MAX)
    return bool(found.item())


def mean_over_workers(values: Tensor) -> Tensor:
    """The mean of each number over all processes; all of them must ask, with as many numbers.

    Args:
        values: On any device; it stays as it is.

    Returns:
        Of the same shape, on the CPU.
    """
    if not several():
        return values.detach().cpu()
    total = values.detach().to(_device(), copy=True)
    distributed.all_reduce(total)
    return total.cpu() / distributed.get_world_size()


def gathered(share: Sequence[T]) -> list[T]:
    """What all processes have found; all of them must ask.

    Args:
        share: What this one has; it is pickled for the way.

    Returns:
        The shares in the order of the processes, in the first one; nothing in the others.
    """
    if not several():
        return list(share)
    shares: list[Sequence[T]] = [()] * world_size()
    distributed.gather_object(share, shares if is_main() else None)
    return [found for of_process in shares for found in of_process]


def _device() -> torch.device:
    """Where processes talk: on the CPU, which waits for no work of a GPU, unless who joined them has NCCL alone."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")

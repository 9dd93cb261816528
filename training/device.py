"""On which device a process computes."""

from __future__ import annotations

import torch

from training.engine import comm


def device_type(name: str) -> str:
    """``cuda``, ``mps`` or ``cpu`` for the ``device`` of a configuration; ``auto`` takes a GPU where there is one.

    What is named need not be on this machine: the workers of a Ray cluster may have it.

    Raises:
        ValueError: for any other device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device must be auto, cpu, cuda or mps, got {name!r}")
    return kind


def choose_device(name: str | torch.device) -> torch.device:
    """The device of this process: of several with GPUs, each has its own.

    Args:
        name: As for :func:`device_type`; one of torch's is taken as its name.

    Raises:
        ValueError: when this machine has no such device.
    """
    name = str(name)
    kind = device_type(name)
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found[kind]:
        raise ValueError(f"device={name} is not to be had here, as torch finds no such GPU; device=cpu does without")
    if kind != "cuda":
        return torch.device(kind)
    number = name.partition(":")[2]
    gpus = torch.cuda.device_count()
    if number and not (number.isdecimal() and int(number) < gpus):
        raise ValueError(f"device={name} is not to be had here, as torch finds {gpus}, from cuda:0 to cuda:{gpus - 1}")
    device = torch.device("cuda", int(number) if number else comm.local_rank())
    torch.cuda.set_device(device)
    return device


def device_of_command(name: str, num_workers: int) -> torch.device:
    """The device of a command whose work several processes may share.

    Args:
        name: As for :func:`device_type`.
        num_workers: How many processes.

    Raises:
        ValueError: as :func:`choose_device` does, and when several would share a GPU.
    """
    kind = device_type(name)
    if num_workers > 1 and kind != "cpu":
        raise ValueError(f"several processes are for --device cpu, as they would share the {kind} device")
    return choose_device(name)

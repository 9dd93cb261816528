"""Which devices a machine has for networks."""

from __future__ import annotations

import importlib.util


def visible_devices(device: str) -> tuple[str, ...]:
    """The devices that a name of torch stands for: every visible GPU for ``cuda``, else the one that is named.

    Args:
        device: Such as ``cuda``, ``cuda:1`` or ``mps``.

    Returns:
        At least one name; ``("cuda",)`` where torch sees no GPU, so that who uses it finds out why.

    Example:
        >>> visible_devices("cuda:1")
        ('cuda:1',)
    """
    if device != "cuda" or importlib.util.find_spec("torch") is None:
        return (device,)
    import torch

    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or (device,)

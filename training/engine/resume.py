"""Whether a run may go on under another configuration: where it writes may change, what it learns may not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
MAY_CHANGE = (
    "output", "engine", "device", "weights", "backbone_weights", "log_every", "checkpoint_every", "keep_checkpoints",
    "inference", "automatic", "evaluation", "data.train", "data.workers", "data.max_skipped", "optim.steps",
)  # fmt: skip
"""Options, and sections of them, that do not decide what a step learns. The number of steps is among them so that a run
can be made longer; its schedule is then the longer run's from there on. Weights only decided the start, and their files
need not be there any more. Data may have moved; that they are the same is
what ``data.contents`` says, which the checkpoint has besides."""


def require_same_learning(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Refuses to go on from a checkpoint when what decides the learning is another now; says what else is.

    Args:
        before: The configuration in the checkpoint, as plain values.
        now: The configuration of this run, likewise.
        path: The checkpoint, for the message.

    Raises:
        ValueError: with every difference that matters, and the remedy.
    """
    differences = list(_differences(before, now))
    harmless = [line for name, line in differences if _may_change(name)]
    if harmless:
        log.warning("going on from %s with another %s", path, "; ".join(harmless))
    refused = [line for name, line in differences if not _may_change(name)]
    if refused:
        raise ValueError(
            f"{path} was trained with another configuration: {'; '.join(refused)}. Resume with the values of before, "
            f"or start a new run from its weights: weights={path} and another output"
        )


def _may_change(name: str) -> bool:
    return any(name == option or name.startswith(f"{option}.") for option in MAY_CHANGE)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and description of every option that differs. One that only one side knows came or went with a release."""
    flat_before, flat_now = dict(_flat(before)), dict(_flat(now))
    for name in flat_now:
        if name in flat_before and flat_before[name] != flat_now[name]:
            yield name, f"{name} was {flat_before[name]!r} and is {flat_now[name]!r}"


def _flat(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

"""Where a transformer's weights may come from, and what to do when they are not there. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


class CheckpointError(ValueError):
    """Weights are missing, cannot be read, or do not fit the network; the message says what would."""


@dataclass(frozen=True)
class Family:
    """One family of networks and the names its weights are published under.

    Attributes:
        model_types: ``model_type`` values of Hugging Face configurations that belong to the family.
        hub_ids: Examples of hub ids.
        official_files: Examples of files of the family's own repository that can be read; empty when none can.
    """

    model_types: tuple[str, ...]
    hub_ids: tuple[str, ...]
    official_files: tuple[str, ...]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "dino": Family(
            model_types=("vit",),
            hub_ids=("facebook/dino-vitb8", "facebook/dino-vits16"),
            official_files=("dino_vitbase8_pretrain.pth", "dino_deitsmall16_pretrain.pth"),
        ),
        "dinov2": Family(
            model_types=("dinov2", "dinov2_with_registers"),
            hub_ids=("facebook/dinov2-base", "facebook/dinov2-with-registers-base"),
            official_files=("dinov2_vitb14_pretrain.pth", "dinov2_vitb14_reg4_pretrain.pth"),
        ),
        "dinov3": Family(
            model_types=("dinov3_vit",),
            hub_ids=("facebook/dinov3-vitb16-pretrain-lvd1689m",),
            official_files=(),
        ),
    }
)
"""What each ``extractor.name`` stands for."""

# Suffixes of weight files: a hub id never ends in one, so a name that does is a file that is not there.
_FILE_SUFFIXES = frozenset({".pth", ".pt", ".bin", ".ckpt", ".safetensors"})
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def remedy(name: str) -> str:
    """What to pass as ``extractor.weights``, in one paragraph that ends an error message.

    Args:
        name: A key of FAMILIES.

    Returns:
        The accepted kinds of weights with examples, and the way to do without any.

    Example:
        >>> "facebook/dino-vitb8" in remedy("dino")
        True
    """
    family = FAMILIES[name]
    kinds = [
        f"a Hugging Face hub id ({', '.join(family.hub_ids)}; fetched once, needs the network)",
        "a local folder with its config.json and model.safetensors",
    ]
    if family.official_files:
        kinds.append(f"an official checkpoint file ({', '.join(family.official_files)})")
    choices = "; or ".join(kinds)
    return (
        f"Pass extractor.weights as {choices}. The default, extractor.name=classical, needs no weights and no network."
    )


def locate(name: str, weights: str) -> Path | str:
    """The local file or folder that ``weights`` names, or else the hub id.

    Args:
        name: A key of FAMILIES.
        weights: ``extractor.weights`` of the configuration.

    Returns:
        A Path that exists, or a string that has the form of a hub id (whether the hub has it is not checked).

    Raises:
        CheckpointError: when ``weights`` is empty, or is a path where nothing is.

    Example:
        >>> locate("dino", "facebook/dino-vitb8")
        'facebook/dino-vitb8'
    """
    if not weights:
        raise CheckpointError(f"extractor.name={name} needs weights, and extractor.weights is empty. {remedy(name)}")
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if path.suffix in _FILE_SUFFIXES or not _HUB_ID.fullmatch(weights):
        raise CheckpointError(f"extractor.weights={weights!r}: there is no such file or folder. {remedy(name)}")
    return weights

"""AdamW for a segmenter: which parameters decay, how fast each part learns, and when.

Source: Loshchilov and Hutter 2019; groups and factors as in the published recipe of Mask2Former (Cheng et al. 2022).
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import nn

from training.config import OptimConfig

BACKBONE = "model.pixel_level_module.encoder."
"""What the names of the backbone's parameters begin with; they are Hugging Face's."""
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase, nn.RMSNorm)
_PLACES = re.compile(r"embed|position")  # of levels, of a window: such a parameter belongs to no layer


def build_optimiser(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that learn.

    Args:
        model: On the device that it will be trained on.
        config: Learning rate, weight decay, and the backbone's share.

    Returns:
        An optimiser of up to four groups: backbone or not, decaying or not. Norms, embeddings and biases of position do
        not decay. A group holds its ``name``, and in ``base_lr`` the rate that :func:`set_lr` starts from.

    Raises:
        ValueError: when no parameter learns.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        >>> [(g["name"], len(g["params"])) for g in build_optimiser(model, OptimConfig()).param_groups]
        [('others', 2), ('others without decay', 2)]
    """
    constant = _without_decay(model)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        of_backbone, decays = name.startswith(BACKBONE), id(parameter) not in constant
        title = ("backbone" if of_backbone else "others") + ("" if decays else " without decay")
        lr = config.lr * (config.backbone_factor if of_backbone else 1)
        decay = config.weight_decay if decays else 0.0
        empty = {"name": title, "params": [], "lr": lr, "base_lr": lr, "weight_decay": decay}
        groups.setdefault(title, empty)["params"].append(parameter)
    if not groups:
        raise ValueError("model must have parameters that learn, but all of them are frozen")
    learning = [parameter for group in groups.values() for parameter in group["params"]]
    # One kernel for all parameters; on the CPU it rounds otherwise in each build of torch, and saves nothing.
    fused = all(parameter.device.type == "cuda" for parameter in learning)
    return torch.optim.AdamW([groups[title] for title in sorted(groups)], lr=config.lr, fused=fused)


def _without_decay(model: nn.Module) -> set[int]:
    """The identities of the parameters that do not decay; one that several modules share is looked at in each."""
    found = set()
    for module in model.modules():
        whole = isinstance(module, (*_NORMS, nn.Embedding))
        for name, parameter in module.named_parameters(recurse=False):
            if whole or _PLACES.search(name):
                found.add(id(parameter))
    return found


def lr_factor(step: int, config: OptimConfig) -> float:
    """What the learning rate is multiplied by in a step.

    Args:
        step: From 0; the number of steps done before.
        config: Warm-up and schedule.

    Returns:
        Within [0, 1]. A schedule is a function of the share of the steps that are done, so a run that is made longer
        has another one.

    Example:
        >>> config = OptimConfig(steps=27, warmup_steps=2)
        >>> [round(lr_factor(step, config), 3) for step in (0, 1, 2, 23, 24, 26)]
        [0.5, 1.0, 1.0, 1.0, 0.1, 0.01]
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return warm
    if config.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))
    dropped = sum(step >= round(share * config.steps) for share in config.drops)
    return float(warm * config.drop_factor**dropped)


def set_lr(optimiser: torch.optim.Optimizer, step: int, config: OptimConfig) -> float:
    """Sets the learning rates of a step.

    Args:
        optimiser: Of :func:`build_optimiser`.
        step: As for :func:`lr_factor`.
        config: As for :func:`lr_factor`.

    Returns:
        The learning rate of what is not the backbone.
    """
    factor = lr_factor(step, config)
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
    return config.lr * factor

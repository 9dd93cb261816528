"""Which of a prompt's masks answers for which of its targets: many tiny assignments, all at once.

A prompt has six masks and at most six targets: so few that every way to assign them is looked at, 720 sums a prompt,
which a GPU does in one go and a solver would be asked for prompt by prompt.

Axes: P prompts, Q masks of a prompt, T targets of a prompt, A ways to assign, M matched pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from math import perm

import torch
from torch import Tensor

MOST_WAYS = 50_000
"""Ways to assign that are looked at; eight masks with eight targets have 40,320."""


@dataclass(frozen=True, eq=False)
class PromptPairs:
    """Masks and the targets that they were matched with, in the order of prompts.

    Attributes:
        prompt_M: int64.
        query_M: int64: which of the prompt's masks; none twice in a prompt.
        target_M: int64: which of the image's targets; as often as the prompt asks for it.
    """

    prompt_M: Tensor
    query_M: Tensor
    target_M: Tensor

    def __len__(self) -> int:
        return len(self.prompt_M)


@torch.no_grad()
def match_prompts(cost_PQT: Tensor, target_PT: Tensor) -> PromptPairs:
    """The pairs whose costs have the smallest sum, in each prompt.

    Args:
        cost_PQT: float32: what it costs to match each mask with each target; of targets that are none, any number.
        target_PT: int64: which of the image's targets these are, negative for none; at most Q.

    Returns:
        A pair for every target.

    Raises:
        ValueError: when there are more targets than masks, or too many of both.
        FloatingPointError: when a cost is not finite: so is the prediction, then, and training has diverged.

    Example:
        >>> cost_PQT = torch.tensor([[[1.0, 5.0], [0.0, 1.0], [9.0, 9.0]]])
        >>> match_prompts(cost_PQT, torch.tensor([[7, 8]])).query_M.tolist()
        [0, 1]
    """
    wanted_PT = target_PT >= 0
    wrong_P = ~(cost_PQT.isfinite().all(dim=1) | ~wanted_PT).all(dim=1)
    if wrong_P.any():
        raise FloatingPointError(
            f"the predictions for {int(wrong_P.sum())} of {len(wrong_P)} prompts are not finite: training has diverged"
        )
    query_PT = assign_all(cost_PQT.masked_fill(~wanted_PT[:, None], 0))
    prompt_M, place_M = wanted_PT.nonzero(as_tuple=True)
    return PromptPairs(prompt_M, query_PT[prompt_M, place_M], target_PT[prompt_M, place_M])


def assign_all(cost_PQT: Tensor) -> Tensor:
    """The assignments of least cost.

    Args:
        cost_PQT: Finite; T at most Q.

    Returns:
        int64 (P, T): a mask for each target, none twice.

    Raises:
        ValueError: when there are more targets than masks, or too many ways to assign them.
    """
    _, Q, T = cost_PQT.shape
    if T > Q:
        raise ValueError(f"a prompt may have at most as many targets as masks, {Q}, got {T}")
    ways = perm(Q, T)
    if ways > MOST_WAYS:
        raise ValueError(f"{T} targets of {Q} masks can be assigned in {ways} ways, at most {MOST_WAYS} are looked at")
    query_AT = torch.tensor(list(permutations(range(Q), T)), dtype=torch.int64, device=cost_PQT.device).view(ways, T)
    places_T = torch.arange(T, device=cost_PQT.device)
    total_PA = cost_PQT.double()[:, query_AT, places_T].sum(dim=2)
    return query_AT[total_PA.argmin(dim=1)]

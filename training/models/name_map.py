"""Names of weights in somebody else's format, and the same weights' names in ours, both ways.

A rule names a module or a parameter on both sides; ``*`` stands for the number of a layer. Where one tensor of theirs
is several of ours (query, key and value), it is split into equal parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_OF_MODULE = r"(\.(?:weight|bias|running_mean|running_var))"


@dataclass(frozen=True)
class _Rule:
    theirs: re.Pattern[str]
    their_name: str
    ours: re.Pattern[str]
    our_names: tuple[str, ...]


class NameMap:
    """Rules, of which the first that fits a name says what it is on the other side.

    Args:
        modules: Names of a module, theirs and ours; whichever parameters it has keep their own names.
        parameters: The name of a parameter of theirs, and those of ours that it is, in order.

    Example:
        >>> names = NameMap([("head.*", "heads.*.linear")], [("qk", ("q", "k"))])
        >>> names.to_ours({"head.3.bias": torch.zeros(1), "qk": torch.ones(2), "tail": torch.ones(1)})
        ({'heads.3.linear.bias': tensor([0.]), 'q': tensor([1.]), 'k': tensor([1.])}, ['tail'])
    """

    def __init__(
        self, modules: Iterable[tuple[str, str]], parameters: Iterable[tuple[str, tuple[str, ...]]] = ()
    ) -> None:
        self._rules = (
            *(_rule(theirs, (ours,), _OF_MODULE) for theirs, ours in modules),
            *(_rule(theirs, ours, "") for theirs, ours in parameters),
        )

    def to_ours(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights under our names, and the names for which we have none.

        Args:
            state: Tensors under their names.

        Returns:
            Renamed tensors, fused ones split; and the names that no rule knows, sorted.
        """
        renamed: dict[str, Tensor] = {}
        strangers = []
        for name, value in state.items():
            for rule, match in self._fitting(name, "theirs"):
                ours = [_fill(our_name, match.groups()) for our_name in rule.our_names]
                renamed.update(zip(ours, value.chunk(len(ours)), strict=True))
                break
            else:
                strangers.append(name)
        return renamed, sorted(strangers)

    def to_theirs(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights under their names, and our names for which they have none; the way back of :meth:`to_ours`.

        Args:
            state: Tensors under our names.

        Returns:
            Renamed tensors, fused again; and the names that no rule knows or whose partners are missing, sorted.
        """
        renamed, left = {}, set(state)
        for name in state:
            for rule, match in self._fitting(name, "ours"):
                parts = [_fill(our_name, match.groups()) for our_name in rule.our_names]
                if left.issuperset(parts):
                    fused = torch.cat([state[part] for part in parts]) if len(parts) > 1 else state[name]
                    renamed[_fill(rule.their_name, match.groups())] = fused
                    left.difference_update(parts)
                break
        return renamed, sorted(left)

    def _fitting(self, name: str, side: str) -> Iterator[tuple[_Rule, re.Match[str]]]:
        for rule in self._rules:
            if match := getattr(rule, side).fullmatch(name):
                yield rule, match


def _rule(theirs: str, ours: tuple[str, ...], ending: str) -> _Rule:
    star = "*" if ending else ""
    return _Rule(_pattern(theirs, ending), theirs + star, _pattern(ours[0], ending), tuple(o + star for o in ours))


def _pattern(name: str, ending: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\*", r"(\d+)") + ending)


def _fill(name: str, found: Iterable[str]) -> str:
    for text in found:
        name = name.replace("*", text, 1)
    return name

"""What many fields must be."""

from __future__ import annotations

from collections.abc import Sequence

from dico.config_loading import require


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuses what is not one of the choices.

    Args:
        name: Dotted name of the field.
        value: What it is.
        choices: What it may be.

    Raises:
        ValueError: when it is none of them.
    """
    require(value in choices, name, f"one of {', '.join(choices)}", value)


def require_stages(name: str, values: Sequence[int], *, divisor: int = 1) -> None:
    """Refuses what is not a positive number for each of the four stages of a backbone.

    Args:
        name: Dotted name of the field.
        values: What it is.
        divisor: What each number must be a multiple of.

    Raises:
        ValueError: when it is something else.
    """
    rule = f"four positive multiples of {divisor}" if divisor > 1 else "four positive numbers"
    require(len(values) == 4 and all(v >= 1 and v % divisor == 0 for v in values), name, rule, values)

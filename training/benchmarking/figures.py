"""What was measured: figures with units, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SECONDS, GIGABYTES = "s", "GB"


@dataclass(frozen=True)
class Figure:
    """One measurement.

    Attributes:
        part: Of the benchmark: ``labelling``, ``training``, ``inference`` or ``clicks``.
        name: What was measured.
        value: The figure; of several runs, their median.
        unit: ``s``, ``GB`` (10^9 bytes), or what is done a second, such as ``images/s``.
        p90: What nine of ten runs do not exceed; None where nothing was repeated.
        runs: How many there were.
    """

    part: str
    name: str
    value: float
    unit: str
    p90: float | None = None
    runs: int = 1

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better: of what is done a second, not of time or memory."""
        return self.unit.endswith("/s")

    def times_better(self, other: Figure) -> float:
        """How many times better the other figure is than this one.

        Args:
            other: Of the same name and unit.

        Returns:
            2.0 for half the time, or twice as much a second; infinite where this one is zero of a rate.

        Example:
            >>> slow, fast = Figure("clicks", "one click", 0.04, "s"), Figure("clicks", "one click", 0.02, "s")
            >>> slow.times_better(fast)
            2.0
        """
        better, worse = (other.value, self.value) if self.higher_is_better else (self.value, other.value)
        return better / worse if worse else float("inf")


def of_times(part: str, name: str, seconds: Sequence[float]) -> Figure:
    """The figure of several runs.

    Args:
        part: As in :class:`Figure`.
        name: Likewise.
        seconds: At least one.

    Example:
        >>> of_times("clicks", "one click", [1.0, 2.0, 3.0]).value
        2.0
    """
    median, p90 = np.quantile(seconds, [0.5, 0.9]).tolist()
    return Figure(part, name, median, SECONDS, p90, len(seconds))


def shown(value: float | None, unit: str) -> str:
    """A value with its unit, three digits of it; a dash for None.

    Example:
        >>> shown(0.01234, "s"), shown(12.34, "s"), shown(0.5, "GB"), shown(123.4, "images/s"), shown(None, "s")
        ('12.3 ms', '12.3 s', '0.5 GB', '123 images/s', '-')
    """
    if value is None:
        return "-"
    if unit == SECONDS and value < 1:
        value, unit = 1000 * value, "ms"
    return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"

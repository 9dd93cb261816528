"""The figures of one data set, named: as a table, as data, and as the few that a log shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dico.evaluation_report import EvalReport


@dataclass(frozen=True)
class CocoReport:
    """Recall and precision on one data set.

    Attributes:
        name: What the data set is called.
        figures: Those of each mask budget, with intervals.
    """

    name: str
    figures: EvalReport

    def scalars(self) -> dict[str, float]:
        """AR and AP of each budget, such as ``"coco/AR@100"``; in percent. What is not known is left out."""
        shown = {
            f"{self.name}/{kind}@{budget.max_masks}": value
            for budget in self.figures.budgets
            for kind, value in (("AR", budget.ar), ("AP", budget.ap))
        }
        return {name: value for name, value in shown.items() if not math.isnan(value)}

    def table(self) -> str:
        """The figures as text: a title, and a line for each budget."""
        return f"{self.name}: {self.figures.table()}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not known is None."""
        return {"name": self.name, "task": "coco", **self.figures.to_dict()}

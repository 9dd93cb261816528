"""The log of a run: ``metrics.jsonl``, a JSON object a line, each step in it once whatever was stopped and resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dico.atomic import atomic_file

METRICS = "metrics.jsonl"
"""Name of the file in the folder of a run."""


class MetricsFile:
    """A file of JSON lines, every one with a ``step``.

    Args:
        path: The file; its folder is made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a line.

        Args:
            line: JSON-ready values; a number that is not finite becomes null, as JSON has none.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(line), allow_nan=False) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All lines; none when there is no file. What a kill left of a line is left out."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def truncate_after(self, step: int) -> None:
        """Removes the lines of later steps, which a run that goes on from a checkpoint is about to take again."""
        if not self.path.exists():
            return
        kept = [line for line in self.read() if line["step"] <= step]
        with atomic_file(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def has_evaluation(self, step: int) -> bool:
        """Whether the model was measured after a step."""
        return any(line["step"] == step and "evaluation" in line for line in self.read())


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(held) for name, held in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

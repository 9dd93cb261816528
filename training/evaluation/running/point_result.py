"""What became of one image in an evaluation of clicks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.evaluation.point_report import PointOutcome
from training.evaluation.running.packing import pack, unpack

_OF_OUTCOME = ("max_iou_G", "oracle_iou_G", "clicks_TG")


@dataclass(frozen=True, eq=False)
class PointResult:
    """What became of one image.

    Attributes:
        key: Of the image in its source.
        outcome: What clicks gave; that nothing was found when the image could not be asked, None when its ground truths
            could not be read: it is left out.
        fault: Why the image was not answered, as a sentence; empty when it was.
        seconds: What it took.
    """

    key: str
    outcome: PointOutcome | None
    fault: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, with compressed arrays; :meth:`from_json` reads it."""
        outcome = self.outcome
        arrays = {} if outcome is None else {name: getattr(outcome, name) for name in _OF_OUTCOME}
        return {
            "key": self.key,
            "fault": self.fault,
            "seconds": self.seconds,
            "arrays": {name: pack(array) for name, array in arrays.items() if array is not None},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PointResult:
        """The result that :meth:`to_json` was called on.

        Raises:
            KeyError, ValueError, TypeError: when it is not what that method gives.
        """
        arrays = {name: unpack(packed) for name, packed in plain["arrays"].items()}
        outcome = PointOutcome(plain["key"], **arrays, answered=not plain["fault"]) if arrays else None
        return cls(plain["key"], outcome, plain["fault"], plain["seconds"])

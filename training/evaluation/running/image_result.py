"""What became of one image in an evaluation of all its masks.

Axes: D counted masks, best first; G ground truths, crowds among them; T IoU thresholds; A area ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dico.matching import IOU_THRESHOLDS, NOT_FOUND
from dico.precision import ImageOutcome
from training.evaluation.running.packing import pack, unpack

_OF_OUTCOME = ("score_D", "outcome_ATD", "truths_A", "finder_TG")


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What became of one image.

    Attributes:
        image_id: Its id in the annotations.
        file_name: Its name there.
        outcome: What became of its masks and its ground truths; of an image that was not answered, of no masks; of one
            that is left out, of neither.
        level_D: int32: the level of each counted mask in its hierarchy.
        kind_G: What the annotations say in ``level``, such as ``"part"``; ``""`` where they say nothing.
        is_crowd_G: bool: which ground truths count neither for nor against.
        fault: Why it was not answered, or is left out, as a sentence; empty when it was.
        seconds: What it took.
        left_out: Whether its ground truths could not be read, so that it is no part of any figure.
    """

    image_id: int
    file_name: str
    outcome: ImageOutcome
    level_D: NDArray[np.int32]
    kind_G: tuple[str, ...]
    is_crowd_G: NDArray[np.bool_]
    fault: str
    seconds: float
    left_out: bool = False

    @property
    def key(self) -> int:
        """What names it among those of its data set."""
        return self.image_id

    @property
    def answered(self) -> bool:
        """Whether the image could be asked, and something was known of it."""
        return not self.fault

    @property
    def found_TG(self) -> NDArray[np.bool_]:
        """bool: which ground truths were found at each threshold, within the largest budget; a crowd never is."""
        found_TG: NDArray[np.bool_] = self.outcome.finder_TG != NOT_FOUND
        return found_TG

    @property
    def n_truths(self) -> int:
        """Ground truths, without crowds."""
        return int((~self.is_crowd_G).sum())

    @property
    def ar(self) -> float:
        """The average recall of this image alone, in percent; NaN without ground truth."""
        if not self.n_truths:
            return float("nan")
        return float(100 * self.found_TG.sum() / (len(IOU_THRESHOLDS) * self.n_truths))

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, with compressed arrays; :meth:`from_json` reads it."""
        return {
            "image_id": self.image_id,
            "file_name": self.file_name,
            "fault": self.fault,
            "seconds": self.seconds,
            "kinds": list(self.kind_G) if any(self.kind_G) else [],
            **({"left_out": True} if self.left_out else {}),
            "n_masks": self.outcome.n_masks,
            "is_crowd_G": pack(self.is_crowd_G),
            "level_D": pack(self.level_D),
            **{name: pack(getattr(self.outcome, name)) for name in _OF_OUTCOME},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> ImageResult:
        """The result that :meth:`to_json` was called on.

        Raises:
            KeyError, ValueError, TypeError: when it is not what that method gives.
        """
        is_crowd_G = unpack(plain["is_crowd_G"])
        return cls(
            image_id=plain["image_id"],
            file_name=plain["file_name"],
            outcome=ImageOutcome(plain["n_masks"], **{name: unpack(plain[name]) for name in _OF_OUTCOME}),
            level_D=unpack(plain["level_D"]),
            kind_G=tuple(plain["kinds"]) or ("",) * len(is_crowd_G),
            is_crowd_G=is_crowd_G,
            fault=plain["fault"],
            seconds=plain["seconds"],
            left_out=plain.get("left_out", False),
        )

"""What an evaluation on several data sets found, as data: pages and tables are made of it.

All figures are in percent, and NaN where there is no ground truth. Those by level and by kind, and those of single
images, are of the largest mask budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dico.evaluation_report import EvalReport, without_nan
from training.evaluation.point_report import PointReport

Task = Literal["whole-image", "point"]


@dataclass(frozen=True)
class ImageSummary:
    """How one image did.

    Attributes:
        image_id: Its id in the annotations.
        file_name: Its name there.
        path: Where it lies; None when nobody knows.
        ar: Its own average recall.
        n_truths: Its ground truths, without crowds; at least 1.
        n_masks: Its masks, before any budget.
    """

    image_id: int
    file_name: str
    path: Path | None
    ar: float
    n_truths: int
    n_masks: int


@dataclass(frozen=True)
class LevelFigure:
    """What the masks of one level of the hierarchy find.

    Attributes:
        level: As :class:`dico.masks.MaskSet` has it: 0 is the whole object, larger is finer.
        masks_per_image: Masks an image that were counted, on average.
        ar_share: Points of the average recall that are found by masks of this level; those of all levels sum to it.
    """

    level: int
    masks_per_image: float
    ar_share: float


@dataclass(frozen=True)
class KindFigure:
    """How ground truths of one kind are found.

    Attributes:
        kind: What the annotations say in ``level``, such as ``"object"`` or ``"part"``.
        n_truths: How many there are, without crowds.
        ar: Their average recall.
        interval: 95 % interval of ``ar`` over resampled images.
    """

    kind: str
    n_truths: int
    ar: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class DatasetReport:
    """How one data set did, whatever was measured.

    Attributes:
        name: What the data set is called in commands and files.
        title: What it is called in tables.
        figures: What was measured.
        all_images: Images of the data set. ``figures.n_images`` are fewer when only a part was evaluated.
        unanswered: Images that could not be asked, or of which nothing is known; they count as without masks, and their
            ground truths as not found.
        left_out: Images of which a ground truth could not be read; they are no part of the figures.
        notes: What has to be known to read the figures, a sentence each.
        seconds: Work on all images, whatever the number of processes.
    """

    name: str
    title: str
    figures: EvalReport | PointReport
    all_images: int
    unanswered: int
    left_out: int
    notes: tuple[str, ...]
    seconds: float

    @property
    def is_subset(self) -> bool:
        """Whether only a part of the images was evaluated."""
        return self.figures.n_images < self.all_images


@dataclass(frozen=True)
class SetReport(DatasetReport):
    """How all masks of one data set did.

    Attributes:
        figures: Those of each mask budget.
        by_level: Those of each level of masks; empty when all masks are of one level.
        by_kind: Those of each kind of ground truth; empty when the annotations name none.
        worst: The images of lowest recall, the lowest first; only of those that were answered and have ground truth.
        best: The images of highest recall, the highest first; likewise.
    """

    figures: EvalReport
    by_level: tuple[LevelFigure, ...]
    by_kind: tuple[KindFigure, ...]
    worst: tuple[ImageSummary, ...]
    best: tuple[ImageSummary, ...]


@dataclass(frozen=True)
class PointSetReport(DatasetReport):
    """How clicks on one data set did.

    Attributes:
        figures: Of one click, and of the number of clicks.
    """

    figures: PointReport


@dataclass(frozen=True)
class Skipped:
    """A data set that was not evaluated. It has no figures, also none that are 0.

    Attributes:
        name: What it is called in commands.
        title: What it is called in tables.
        reason: Why, as a sentence.
        command: What prepares it; empty when nobody knows.
    """

    name: str
    title: str
    reason: str
    command: str


@dataclass(frozen=True)
class SuiteReport:
    """What an evaluation found.

    Attributes:
        task: ``"whole-image"`` (all masks of an image; ``sets`` are :class:`SetReport`) or ``"point"`` (clicks;
            :class:`PointSetReport`).
        subject: What was evaluated, such as ``"model out/train/model_final.pth"`` or ``"store labels"``.
        sets: One of each data set that was evaluated, in the order that was asked for.
        skipped: The other ones.
        verified: How the figures were compared with those of COCO's own code, as a sentence; empty when they were not.
        made_with: Versions, by name of package.
        asked: What the figures of each set depend on, by name of the set: digests of its annotations and of what
            answered, and settings; JSON-ready.
    """

    task: Task
    subject: str
    sets: tuple[SetReport | PointSetReport, ...]
    skipped: tuple[Skipped, ...]
    verified: str = ""
    made_with: Mapping[str, str] = field(default_factory=dict)
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not known (NaN) is None.

        Equal evaluations give equal data but for ``"seconds"``, which has the times of all sets. Where images lie on
        this machine is left out.
        """
        plain = {
            "task": self.task,
            "subject": self.subject,
            "verified": self.verified,
            "made_with": dict(self.made_with),
            "asked": {name: dict(asked) for name, asked in self.asked.items()},
            "sets": [_without_machine(dataclasses.asdict(one)) for one in self.sets],
            "skipped": [dataclasses.asdict(one) for one in self.skipped],
            "seconds": {one.name: round(one.seconds, 3) for one in self.sets},
        }
        ready: dict[str, Any] = without_nan(plain)
        return ready


def _without_machine(plain: dict[str, Any]) -> dict[str, Any]:
    for of_images in ("worst", "best"):
        for image in plain.get(of_images, ()):
            del image["path"]
    return {key: value for key, value in plain.items() if key != "seconds"}

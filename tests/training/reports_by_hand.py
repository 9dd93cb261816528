"""Reports of evaluations with made-up figures, so that what pages say of them is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from dico.evaluation_report import BudgetFigures, EvalReport
from training.evaluation.pages.published import POINT_IMAGES, SET_IMAGES, SET_TITLES, SETS
from training.evaluation.point_report import Clicks, Figure, PointReport
from training.evaluation.suite_report import (
    ImageSummary,
    KindFigure,
    LevelFigure,
    PointSetReport,
    SetReport,
    Skipped,
    SuiteReport,
)


def budget(max_masks: int, ar: float) -> BudgetFigures:
    """AR is as given, with an interval of 1.5 to either side; all else follows from it, or is not known."""
    return BudgetFigures(
        max_masks=max_masks,
        masks_per_image=12.5,
        ar=ar,
        ar_interval=(ar - 1.5, ar + 1.5),
        ar_small=math.nan,
        ar_medium=ar / 2,
        ar_large=ar,
        ap=ar / 4,
        ap_interval=(ar / 4 - 1, ar / 4 + 1),
        ap50=ar / 2,
        ap_small=math.nan,
        ap_medium=1.25,
        ap_large=2.75,
    )


def set_report(
    name: str = "coco", title: str = "COCO", *, ar: float = 40.0, n_images: int = 0, **other: Any
) -> SetReport:
    """All images of a published set, or 50 of another, unless ``n_images`` says how many."""
    all_images = dict(zip(SETS, SET_IMAGES, strict=True)).get(name, 50)
    figures = EvalReport(n_images or all_images, 0, 1234, 0, 1000, 234, 12.5, (budget(100, ar / 2), budget(1000, ar)))
    settings: dict[str, Any] = {
        "by_level": (),
        "by_kind": (),
        "worst": (),
        "best": (),
        "all_images": all_images,
        "unanswered": 0,
        "left_out": 0,
        "notes": (),
        "seconds": 1.0,
    }
    return SetReport(name, title, figures, **(settings | other))


def seven_sets(**other: Any) -> tuple[SetReport, ...]:
    """AR at 1,000 masks is 30, 31 ... 36."""
    named = zip(SETS, SET_TITLES, strict=True)
    return tuple(set_report(name, title, ar=30.0 + place, **other) for place, (name, title) in enumerate(named))


def suite(*sets: SetReport | PointSetReport, **other: Any) -> SuiteReport:
    task = "point" if sets and isinstance(sets[0], PointSetReport) else "whole-image"
    return SuiteReport(**({"task": task, "subject": "store labels", "sets": sets, "skipped": ()} | other))


def clicked(
    name: str = "coco_panoptic", title: str = "COCO panoptic", *, n_images: int = POINT_IMAGES, **other: Any
) -> PointSetReport:
    reached = (Clicks(0.8, Figure(7.5, (7.0, 8.0)), Figure(61.0, (60.0, 62.0))),)
    figures = PointReport(name, n_images, 0, 321, Figure(33.3, (32.0, 34.5)), Figure(44.4, (43.0, 45.5)), 20, reached)
    settings: dict[str, Any] = {"all_images": POINT_IMAGES, "unanswered": 0, "left_out": 0, "notes": (), "seconds": 1.0}
    return PointSetReport(name, title, figures, **(settings | other))


def full_set(path: Path | None = None, **other: Any) -> SetReport:
    """A set of which everything is known that can be, with one image."""
    shown = ImageSummary(7, "seven.png", path, 12.3, 2, 5)
    known: dict[str, Any] = {
        "by_level": (LevelFigure(0, 3.5, 30.0), LevelFigure(2, 9.0, 10.0)),
        "by_kind": (KindFigure("object", 1000, 45.0, (44.0, 46.0)), KindFigure("part", 234, 20.0, (19.0, 21.0))),
        "worst": (shown,),
        "best": (shown,),
        "notes": ("Read recall.",),
    }
    return set_report(**(known | other))


SKIPPED = Skipped("lvis", "LVIS", "4,809 of 5,000 images are there.", "python datasets/prepare_lvis.py IN OUT\nls OUT")

"""An evaluation on several data sets, from their names to the report and its pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from dico.atomic import atomic_file
from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from dico.version import dico_version
from training.evaluation.pages.markdown import suite_markdown
from training.evaluation.pages.page import write_suite_page
from training.evaluation.suite_report import ImageSummary, PointSetReport, SetReport, Skipped, SuiteReport
from training.suite.clicks import measure_clicks
from training.suite.masks import MeasuredMasks, measure_masks
from training.suite.plan import PlannedSet, SuiteOptions, planned
from training.suite.subjects import Subject

_PACKAGES = ("numpy", "pycocotools", "torch")


def evaluate_suite(names: Sequence[str], subject: Subject, options: SuiteOptions) -> SuiteReport:
    """Evaluates data sets, or goes on where it was left; writes report.json, report.md and report.html.

    A data set that is not there, or that cannot be measured, is skipped: the report says why.

    Args:
        names: Names of data sets or suites, or paths.
        subject: What is evaluated.
        options: How, and where the report goes.

    Raises:
        FileNotFoundError, KeyError, TypeError, ValueError: as :func:`training.suite.plan.planned` does, and when all
            data sets are skipped.
        training.evaluation.running.processes.WorkerError: when a process died.
        training.suite.masks.VerificationError: when stock tools find other figures.
    """
    sets = planned(names, subject, options)
    _require_any(sets)
    measured = [_measured(one, subject, options) if isinstance(one, PlannedSet) else one for one in sets]
    _require_any(measured)
    of_masks = [one for one in measured if isinstance(one, MeasuredMasks)]
    reports = [one.report if isinstance(one, MeasuredMasks) else one for one in measured]
    report = SuiteReport(
        task=options.task,
        subject=subject.title,
        sets=tuple(one for one in reports if not isinstance(one, Skipped)),
        skipped=tuple(one for one in reports if isinstance(one, Skipped)),
        verified=_verified(of_masks),
        made_with=_versions(),
        asked=_asked(sets, reports),
    )
    _write(report, of_masks, options)
    return report


def _measured(one: PlannedSet, subject: Subject, options: SuiteOptions) -> MeasuredMasks | PointSetReport | Skipped:
    measure = measure_clicks if options.task == "point" else measure_masks
    return measure(one, subject, options)


def _require_any(sets: Sequence[object]) -> None:
    """Raises when all are skipped."""
    skipped = [one for one in sets if isinstance(one, Skipped)]
    if len(skipped) == len(sets):
        reasons = "\n".join(f"  {one.name}: {one.reason}{_remedy(one)}" for one in skipped)
        raise ValueError(f"none of the data sets can be evaluated:\n{reasons}")


def _remedy(skipped: Skipped) -> str:
    return f"\n    {skipped.command}" if skipped.command else ""


def _verified(measured: Sequence[MeasuredMasks]) -> str:
    engines = sorted({one.verified for one in measured if one.verified})
    return f"{' and '.join(engines)} found the same figures on all data sets" if engines else ""


def _asked(
    sets: Sequence[PlannedSet | Skipped], reports: Sequence[SetReport | PointSetReport | Skipped]
) -> dict[str, Mapping[str, Any]]:
    measured = {one.name for one in reports if not isinstance(one, Skipped)}
    return {one.name: one.asked for one in sets if isinstance(one, PlannedSet) and one.name in measured}


def _versions() -> dict[str, str]:
    found = {"divide-and-conquer": dico_version(), "python": python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _write(report: SuiteReport, measured: Sequence[MeasuredMasks], options: SuiteOptions) -> None:
    shown = {(one.report.name, image_id): look for one in measured for image_id, look in one.shown.items()}

    def look(of_set: SetReport, image: ImageSummary) -> tuple[AnnotatedImage, MaskSet | None]:
        return shown[of_set.name, image.image_id]

    today = date.today().isoformat()
    with atomic_file(options.output / "report.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    with atomic_file(options.output / "report.md") as temporary:
        temporary.write_text(suite_markdown(report, when=today), encoding="utf-8")
    write_suite_page(report, options.output / "report.html", look=look, when=today)

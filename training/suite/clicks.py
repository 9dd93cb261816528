"""Clicks on the images of one data set, measured."""

from __future__ import annotations

from training.data.catalog import open_source
from training.evaluation.point_iou import PointEvaluator
from training.evaluation.running.journal import ResultJournal
from training.evaluation.running.point_result import PointResult
from training.evaluation.running.point_work import MakePointWork, PointTask
from training.evaluation.running.run_set import run_set
from training.evaluation.suite_report import PointSetReport, Skipped
from training.suite.faults import missing_segments, shortage, without_masks, write_faults
from training.suite.plan import PlannedSet, SuiteOptions
from training.suite.subjects import Subject


def measure_clicks(planned: PlannedSet, subject: Subject, options: SuiteOptions) -> PointSetReport | Skipped:
    """Measures a data set, or goes on where it was left.

    Args:
        planned: The data set.
        subject: What is evaluated.
        options: How.

    Raises:
        training.evaluation.running.processes.WorkerError: when a process died.
    """
    try:
        source = open_source(planned.asked_for)
        if reason := shortage(planned, len(source)) or missing_segments(source):
            return planned.skipped(reason, planned.description.prepare)
        evaluator = PointEvaluator(
            source,
            images=options.images,
            most_clicks=options.clicks.most,
            thresholds=options.clicks.thresholds,
            name=planned.name,
        )
    except (ValueError, OSError) as error:
        return planned.skipped(str(error), planned.description.prepare)
    try:
        make_ask = subject.clicks(planned.name, evaluator.records, options.clicks, options.processes)
    except (ValueError, OSError) as error:
        return planned.skipped(str(error))
    tasks = [PointTask(place, record.key) for place, record in enumerate(evaluator.records)]
    work = MakePointWork(evaluator.records, make_ask)
    with ResultJournal(planned.journal, planned.asked, resume=options.resume) as journal:
        results = run_set(tasks, work, journal, PointResult.from_json, processes=options.processes, name=planned.name)
    if reason := write_faults(planned, [(result.key, result.fault) for result in results]):
        return planned.skipped(reason)
    return PointSetReport(
        name=planned.name,
        title=planned.title,
        figures=evaluator.report(result.outcome for result in results if result.outcome is not None),
        all_images=len(source),
        unanswered=sum(bool(result.fault) and result.outcome is not None for result in results),
        left_out=sum(result.outcome is None for result in results),
        notes=(*without_masks(source), *planned.description.notes),
        seconds=sum(result.seconds for result in results),
    )

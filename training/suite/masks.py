"""All masks of the images of one data set, measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dico.ground_truth import AnnotatedImage, load_annotations
from dico.masks import MaskSet
from dico.stock_coco import stock_figures
from training.evaluation.answers.base import Answers
from training.evaluation.coco import evenly_spaced
from training.evaluation.running.image_result import ImageResult
from training.evaluation.running.journal import ResultJournal
from training.evaluation.running.mask_work import MakeMaskWork, MaskTask
from training.evaluation.running.run_set import run_set
from training.evaluation.set_report import SetFacts, set_report
from training.evaluation.suite_report import SetReport, Skipped
from training.records import images_folder
from training.suite.faults import missing_images, shortage, write_faults
from training.suite.plan import PlannedSet, SuiteOptions
from training.suite.subjects import Subject

log = logging.getLogger(__name__)

TOLERANCE = 1e-6
"""How far figures, in percent, may be from those of stock COCO tools."""


class VerificationError(RuntimeError):
    """Stock COCO tools found other figures."""


@dataclass(frozen=True)
class MeasuredMasks:
    """What was found on a data set.

    Attributes:
        report: The figures.
        verified: Which stock tool found the same ones; empty when none was asked.
        shown: The best and the worst images by id, each with its ground truth and its masks.
    """

    report: SetReport
    verified: str
    shown: Mapping[int, tuple[AnnotatedImage, MaskSet | None]]


def measure_masks(planned: PlannedSet, subject: Subject, options: SuiteOptions) -> MeasuredMasks | Skipped:
    """Measures a data set, or goes on where it was left.

    Args:
        planned: The data set.
        subject: What is evaluated.
        options: How.

    Raises:
        training.evaluation.running.processes.WorkerError: when a process died.
        VerificationError: when figures are to be verified, and stock tools find other ones.
    """
    try:
        images = load_annotations(planned.located.annotations)
    except ValueError as error:
        return planned.skipped(str(error), planned.description.prepare)
    if reason := shortage(planned, len(images)):
        return planned.skipped(reason, planned.description.prepare)
    chosen = evenly_spaced(images, options.images)
    root = planned.located.images or images_folder(planned.located.annotations, [one.file_name for one in chosen])
    tasks = [MaskTask(image, root / image.file_name if image.file_name else None) for image in chosen]
    if subject.looks_at_images and (reason := missing_images([task.path for task in tasks], root)):
        return planned.skipped(reason, planned.description.prepare)
    try:
        make_answers = subject.answers(planned.name, chosen, options.processes)
    except (ValueError, OSError) as error:
        return planned.skipped(str(error))
    work = MakeMaskWork(make_answers, max(options.max_dets))
    with ResultJournal(planned.journal, planned.asked, resume=options.resume) as journal:
        results = run_set(tasks, work, journal, ImageResult.from_json, processes=options.processes, name=planned.name)
    reason = write_faults(planned, [(str(task), result.fault) for task, result in zip(tasks, results, strict=True)])
    if reason:
        return planned.skipped(reason)
    facts = SetFacts(planned.name, planned.title, len(images), planned.description.notes)
    report = set_report(results, facts, max_dets=options.max_dets, images_root=root)
    if not report.figures.masks_per_image:
        log.warning(
            "%s: not one mask was found; if a promptable model was asked, lower automatic.min_iou and "
            "automatic.min_stability, which a model that was trained briefly does not pass",
            planned.name,
        )
    answers = make_answers()
    verified = _verified(report, tasks, results, answers, options.max_dets) if options.verify else ""
    shown_ids = {image.image_id for image in (*report.worst, *report.best)}
    shown = {task.key: (task.image, _asked_again(answers, task)) for task in tasks if task.key in shown_ids}
    return MeasuredMasks(report, verified, shown)


def _verified(
    report: SetReport,
    tasks: Sequence[MaskTask],
    results: Sequence[ImageResult],
    answers: Answers,
    max_dets: Sequence[int],
) -> str:
    """Which stock tool finds the same figures; every image is asked once more."""
    measured = [(task, result) for task, result in zip(tasks, results, strict=True) if not result.left_out]

    def masks() -> Iterator[tuple[int, MaskSet]]:
        for task, result in measured:
            found = answers.masks(task.image, task.path) if result.answered else None
            if found is not None:
                yield task.key, found

    stock = stock_figures([task.image for task, _ in measured], masks(), max_dets)
    difference = stock.largest_difference(report.figures)
    if not difference <= TOLERANCE:
        raise VerificationError(
            f"{report.name}: figures differ from those of {stock.engine} by up to {difference:.3g} points; were the"
            " masks the same when they were asked for again?"
        )
    return stock.engine


def _asked_again(answers: Answers, task: MaskTask) -> MaskSet | None:
    try:
        return answers.masks(task.image, task.path)
    except (ValueError, OSError) as error:
        log.warning("%s: %s; its picture is left out", task, error)
        return None

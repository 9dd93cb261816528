"""Which data sets an evaluation is about: those that are there, and for the others what prepares them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dico.version import dico_version
from training.data.catalog import DatasetDescription, Located, describe, expand_suites, locate, open_source
from training.data.panoptic_source import PanopticSource
from training.digest import sha256_of
from training.evaluation.running.journal import JournalError, require_resumable
from training.evaluation.suite_report import Skipped, Task
from training.suite.subjects import AbsentError, Clicks, Subject

BUDGETS = (10, 100, 1000)
"""The mask budgets of published figures."""
JOURNAL = "images.journal"


@dataclass(frozen=True)
class SuiteOptions:
    """How data sets are evaluated.

    Attributes:
        task: All masks of an image, or clicks.
        output: The folder that reports and journals are written in.
        images: Only so many images of each data set, evenly spaced; 0 takes all.
        max_dets: Mask budgets.
        clicks: How ground truths are clicked.
        processes: How many share the work.
        resume: Whether an evaluation that was ended goes on.
        verify: Whether the figures are computed by stock COCO tools, too, and compared.
    """

    task: Task
    output: Path
    images: int = 0
    max_dets: tuple[int, ...] = BUDGETS
    clicks: Clicks = field(default_factory=Clicks)
    processes: int = 1
    resume: bool = False
    verify: bool = False


@dataclass(frozen=True)
class PlannedSet:
    """A data set that is there.

    Attributes:
        name: What it is called in files and reports.
        asked_for: What it was called when it was asked for.
        located: Where it lies.
        asked: All that the results of its images depend on; JSON-ready.
        folder: Where its journal is.
    """

    name: str
    asked_for: str
    located: Located
    asked: Mapping[str, Any]
    folder: Path

    @property
    def description(self) -> DatasetDescription:
        """What its YAML file says; nothing where it has none."""
        return self.located.description or DatasetDescription(self.located.format, str(self.located.annotations))

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.description.title or self.name

    @property
    def journal(self) -> Path:
        """The file that keeps the results of its images."""
        return self.folder / JOURNAL

    def skipped(self, reason: str, command: str = "") -> Skipped:
        """That it cannot be evaluated."""
        return Skipped(self.name, self.title, reason, command)


def planned(names: Iterable[str], subject: Subject, options: SuiteOptions) -> tuple[PlannedSet | Skipped, ...]:
    """The data sets of an evaluation, in order; those that are not there, or of which the subject has nothing, skipped.

    Args:
        names: Names of data sets or suites, or paths, as for :func:`training.data.catalog.expand_suites`.
        subject: What is evaluated.
        options: How.

    Raises:
        FileNotFoundError: for a name that nothing has.
        KeyError, TypeError, ValueError: when a YAML file is not valid, a data set is of a format that the task cannot
            be measured with, two have one name, or the subject cannot be asked for the task.
        JournalError: when the folder of the output has something else in it, or results and ``resume`` is not set.
    """
    if not options.resume and options.output.exists() and (options.output.is_file() or any(options.output.iterdir())):
        raise JournalError(
            f"{options.output} must be a new or an empty folder; --resume goes on with an evaluation that was ended"
        )
    found = tuple(_planned(name, subject, options) for name in expand_suites(names))
    if not found:
        raise ValueError("datasets must name at least one data set")
    twins = [name for name, times in Counter(one.name for one in found).items() if times > 1]
    if twins:
        raise ValueError(
            f"every data set must have a name of its own, got {', '.join(twins)} more often; a YAML file names a data"
            " set (see datasets/README.md)"
        )
    for one in found:
        if isinstance(one, PlannedSet):
            require_resumable(one.journal, one.asked, resume=options.resume)
    return found


def _planned(asked_for: str, subject: Subject, options: SuiteOptions) -> PlannedSet | Skipped:
    description = describe(asked_for)
    try:
        located = locate(asked_for)
    except (FileNotFoundError, ValueError) as error:
        if description is None:
            raise
        name = description.name or Path(asked_for).stem
        return Skipped(name, description.title or name, str(error), description.prepare)
    if options.task == "whole-image" and located.format not in ("coco", "lvis"):
        raise ValueError(
            f"all masks are measured against annotations in COCO's format, {asked_for} is of format {located.format}"
        )
    name = located.called
    title = description.title if description is not None and description.title else name
    try:
        identity = subject.identity(name, options.task)
    except AbsentError as error:
        return Skipped(name, title, str(error), error.command)
    try:
        contents = _contents(located, asked_for)
    except (ValueError, OSError) as error:
        return Skipped(name, title, str(error), description.prepare if description is not None else "")
    asked = {
        "task": options.task,
        "data_set": name,
        "annotations": contents,
        "images": options.images,
        **({"max_masks": max(options.max_dets)} if options.task == "whole-image" else _plain(options.clicks)),
        "dico": dico_version(),
        "subject": dict(identity),
    }
    return PlannedSet(name, asked_for, located, asked, options.output / name.replace("/", "_"))


def _contents(located: Located, asked_for: str) -> str:
    """What changes when the ground truth does."""
    if not located.annotations.is_file():
        return open_source(asked_for).contents()
    digest = sha256_of(located.annotations)
    if located.format != "panoptic":
        return digest
    source = PanopticSource(located.annotations, images=located.images)
    return f"{digest}, segments {source.segments_digest()}"


def _plain(clicks: Clicks) -> dict[str, Any]:
    return {"clicks": clicks.most, "thresholds": list(clicks.thresholds)}

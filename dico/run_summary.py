"""What a run did, counted as it goes and told when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dico.task import Failed, Outcome


@dataclass(frozen=True)
class RunSummary:
    """What a run did, and how the store stands.

    Attributes:
        images: Images that the run was about: those of the store, or of its shards.
        found_done: Images that had their row before.
        labelled: Images that got masks in this run.
        failed: Images that failed in this run.
        failed_in_store: Images that failed in this run or before.
        masks: Masks of the images labelled in this run.
        seconds: How long it took.
        interrupted: Whether Ctrl-C ended it before the images it was to label were done.
        too_many_failures: Whether it was stopped because so many images failed.
        failures_path: The file that says why images failed.
        log_path: What happened, line by line.
        failed_by_kind: How many of ``failed`` there are of each kind.
        seconds_by_stage: Time that workers spent on the stages of labelling, added up.
        first: How many images count as the first of their worker, on which loops are loaded or compiled.
        first_by_stage: What ``seconds_by_stage`` has of these.
        retries: Whether what failed in earlier runs is to be tried again, so that ``found_done`` has none of it.
    """

    images: int
    found_done: int
    labelled: int
    failed: int
    failed_in_store: int
    masks: int
    seconds: float
    interrupted: bool
    too_many_failures: bool
    failures_path: Path
    log_path: Path
    failed_by_kind: Mapping[str, int] = field(default_factory=dict)
    seconds_by_stage: Mapping[str, float] = field(default_factory=dict)
    first: int = 0
    first_by_stage: Mapping[str, float] = field(default_factory=dict)
    retries: bool = False

    @property
    def failed_before(self) -> int:
        """Images of ``found_done`` that have no masks, as they failed in an earlier run."""
        return 0 if self.retries else self.failed_in_store - self.failed

    @property
    def pending(self) -> int:
        """Images that are still to be tried, or to be tried again."""
        return self.images - self.found_done - self.labelled - self.failed

    def sentence(self) -> str:
        """The summary for people: a line on the images, one on the time, and where the failures are listed."""
        return "\n".join([self._images(), *self._stages(), *self._failures()])

    def _images(self) -> str:
        parts = [f"{self.labelled:,} of {self.images:,} images labelled in {self.seconds:.1f} s"]
        if self.labelled:
            parts.append(f"{(self.labelled + self.failed) / max(self.seconds, 1e-9):.2f} images/s")
        if self.labelled:
            parts.append(f"{self.masks:,} masks")
        if self.found_done > self.failed_before:
            parts.append(f"{self.found_done - self.failed_before:,} were done before")
        if self.failed_before:
            parts.append(f"{self.failed_before:,} failed before")
        if self.pending:
            parts.append(f"{self.pending:,} still to do")
        if self.interrupted:
            return ", ".join(parts) + " (interrupted; the same command goes on)"
        if self.too_many_failures:
            return ", ".join(parts) + f" (stopped by --max-failures: {self.failed:,} failed)"
        return ", ".join(parts)

    def _stages(self) -> list[str]:
        later = self.labelled - self.first
        if later <= 0:
            return _work(self.seconds_by_stage, self.labelled)
        rest = {name: total - self.first_by_stage.get(name, 0.0) for name, total in self.seconds_by_stage.items()}
        begun = sum(self.first_by_stage.values()) / max(1, self.first)
        which = "the first" if self.first == 1 else f"each of the first {self.first:,}"
        return [f"{line}; {begun:.2f} s for {which}" if begun else line for line in _work(rest, later)]

    def _failures(self) -> list[str]:
        if not self.failed_in_store:
            return []
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.failed_by_kind.items()))
        some = "1 image" if self.failed_in_store == 1 else f"{self.failed_in_store:,} images"
        when = f" ({kinds} in this run)" if kinds else " in earlier runs"
        return [
            f"{some} failed{when}; the list, with the reasons, is {self.failures_path}; --retry-failed tries them again"
        ]


def _work(seconds_by_stage: Mapping[str, float], images: int) -> list[str]:
    """A line on the time that an image takes, and on what, largest first; none where none was measured."""
    total = sum(seconds_by_stage.values())
    if not total:
        return []
    shares = sorted(seconds_by_stage.items(), key=lambda item: -item[1])
    told = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in shares if seconds >= 0.005 * total)
    return [f"{total / max(1, images):.2f} s of work an image: {told}"]


class Tally:
    """Counts outcomes while they come.

    Args:
        warm_up: How many images count as the first of their worker.
    """

    def __init__(self, warm_up: int = 0) -> None:
        self.warm_up = warm_up
        self.labelled = 0
        self.masks = 0
        self.failed_by_kind: Counter[str] = Counter()
        self.seconds_by_stage: dict[str, float] = {}
        self.first_by_stage: dict[str, float] = {}

    @property
    def failed(self) -> int:
        """Failures of any kind."""
        return self.failed_by_kind.total()

    def add(self, outcome: Outcome) -> None:
        """Counts one."""
        if isinstance(outcome, Failed):
            self.failed_by_kind[outcome.kind] += 1
            return
        self.labelled += 1
        self.masks += outcome.masks
        for name, seconds in outcome.seconds_by_stage.items():
            self.seconds_by_stage[name] = self.seconds_by_stage.get(name, 0.0) + seconds
            if self.labelled <= self.warm_up:
                self.first_by_stage[name] = self.first_by_stage.get(name, 0.0) + seconds

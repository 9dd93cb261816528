"""Labelling many images: order, window, resuming and writing live here; the work itself is an executor's."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from dico.config import ImageConfig
from dico.executors import Executor, InlineExecutor, Session
from dico.interrupt import Interrupt
from dico.store import Failure, MaskStore, StoreWriter
from dico.task import Failed, Labeler, LabelWork, Outcome, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """What a run did, and how the store stands.

    Attributes:
        images: Images in the store's manifest.
        found_done: Images that had their row before.
        labelled: Images that got masks in this run.
        failed: Images that failed in this run.
        failed_in_store: Images that failed in this run or before.
        seconds: How long it took.
        interrupted: Whether Ctrl-C ended it before the images it was to label were done.
        failures_path: The file that says why images failed.
    """

    images: int
    found_done: int
    labelled: int
    failed: int
    failed_in_store: int
    seconds: float
    interrupted: bool
    failures_path: Path

    @property
    def pending(self) -> int:
        """Images that were not tried yet."""
        return self.images - self.found_done - self.labelled - self.failed

    def sentence(self) -> str:
        """The summary for people, one line; a second one says where the failures are listed, when there are any."""
        tried = self.labelled + self.failed
        parts = [f"{self.labelled} of {self.images} images labelled in {self.seconds:.1f} s"]
        if tried:
            parts.append(f"{tried / max(self.seconds, 1e-9):.2f} images/s")
        if self.found_done:
            parts.append(f"{self.found_done} were done before")
        if self.pending:
            parts.append(f"{self.pending} still to do")
        line = ", ".join(parts) + (" (interrupted; the same command goes on)" if self.interrupted else "")
        if self.failed_in_store:
            some = "1 image" if self.failed_in_store == 1 else f"{self.failed_in_store} images"
            line += f"\n{some} failed; the list, with the reasons, is {self.failures_path}"
        return line


def run(
    labeler: Labeler,
    store: MaskStore,
    *,
    executor: Executor | None = None,
    max_pixels: int = ImageConfig.max_pixels,
    limit: int | None = None,
    show_progress: bool = True,
) -> RunSummary:
    """Labels the images of a store that have no row yet.

    An image that cannot be read or labelled becomes a failure of the store and the run goes on. After the first Ctrl-C
    the images under way are finished and written; the second raises KeyboardInterrupt. Either way, and after a kill,
    the next run goes on where this one stopped.

    Args:
        labeler: Gives an image (uint8, H x W x 3, RGB) its masks; the same image must give the same masks.
        store: Where the rows go.
        executor: Who does the work; by default this process.
        max_pixels: Larger images are recorded as failures before they are decoded.
        limit: Only the first so many images of the store; None for all of them.
        show_progress: Shows a progress bar where standard error is a terminal.

    Returns:
        What was done.

    Raises:
        StoreError: when another process writes the store.
        OSError: when the store cannot be written, such as on a full disk.
    """
    started = time.monotonic()
    last = len(store.manifest.entries) if limit is None else min(limit, len(store.manifest.entries))
    executor = InlineExecutor() if executor is None else executor
    with (
        store.writer() as writer,
        executor.session(LabelWork(labeler, max_pixels)) as session,
        Interrupt() as interrupt,
    ):
        if writer.damaged_shards:
            log.warning("shards %s of %s are damaged and are labelled again", writer.damaged_shards, store.path)
        pending = list(writer.pending())
        todo = [index for index in pending if index < last]
        labelled = failed = 0
        with _progress_bar(last, last - len(todo), show_progress) as bar:
            for index, outcome in _outcomes(session, store, iter(todo), interrupt):
                written = _write(writer, index, outcome)
                labelled += written and not isinstance(outcome, Failed)
                failed += written and isinstance(outcome, Failed)
                bar.set_postfix(failed=writer.failed, refresh=False)
                bar.update(written)
        return RunSummary(
            images=len(store.manifest.entries),
            found_done=len(store.manifest.entries) - len(pending),
            labelled=labelled,
            failed=failed,
            failed_in_store=writer.failed,
            seconds=time.monotonic() - started,
            interrupted=labelled + failed < len(todo),
            failures_path=store.failures_path,
        )


def _outcomes(
    session: Session, store: MaskStore, todo: Iterator[int], interrupt: Interrupt
) -> Iterator[tuple[int, Outcome]]:
    """Yields outcomes as they come, with a window of tasks under way until there are no more, or Ctrl-C."""
    under_way = 0
    while True:
        while under_way < session.window and not interrupt.requested and (index := next(todo, None)) is not None:
            entry = store.manifest.entries[index]
            session.submit(index, Task(entry, store.manifest.image_path(entry)))
            under_way += 1
        if not under_way:
            return
        yield session.collect()
        under_way -= 1


def _write(writer: StoreWriter, index: int, outcome: Outcome) -> bool:
    if isinstance(outcome, Failed):
        path = writer.manifest.entries[index].path
        return writer.fail(Failure(index, path, outcome.kind, outcome.error, outcome.traceback))
    return writer.add(index, outcome.row)


def _progress_bar(total: int, initial: int, shown: bool) -> tqdm:
    hidden = not (shown and sys.stderr.isatty())
    return tqdm(total=total, initial=initial, unit=" images", file=sys.stderr, disable=hidden, dynamic_ncols=True)

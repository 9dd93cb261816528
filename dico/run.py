"""Labelling many images: order, window, retries, resuming and writing live here; the work itself is an executor's."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from dico.executors import Executor, InlineExecutor, Session
from dico.interrupt import Interrupt
from dico.job import Job
from dico.progress import Progress
from dico.run_log import RunLog
from dico.run_summary import RunSummary, Tally
from dico.store import Failure, MaskStore, StoreWriter
from dico.task import Failed, Labelled, Lost, Outcome, Task
from dico.version import dico_version

log = logging.getLogger(__name__)

TICK_S = 1.0
"""How often Ctrl-C and the clock are looked at while nothing comes."""
MAX_BLAMELESS = 10
"""A task that went down with so many machines is blamed after all."""


@dataclass(frozen=True)
class RunOptions:
    """What a run is to do, and when it gives up.

    Attributes:
        limit: Only the first so many images of the listing; None for all of them.
        shards: Only the images of these shards, so that several runs can share a store; None for all of them.
        retry_failed: Images that failed before are tried again.
        max_crashes: An image has failed when so many workers died over it.
        max_failures: The run stops when so many images failed in it; None goes on whatever happens.
        show_progress: Shows the progress on standard error.

    Raises:
        ValueError: when a number is not positive.
    """

    limit: int | None = None
    shards: range | None = None
    retry_failed: bool = False
    max_crashes: int = 2
    max_failures: int | None = None
    show_progress: bool = True

    def __post_init__(self) -> None:
        for name in ("limit", "max_crashes", "max_failures"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def run(
    job: Job, store: MaskStore, options: RunOptions | None = None, *, executor: Executor | None = None
) -> RunSummary:
    """Labels the images of a store that have no row yet.

    An image that cannot be read or labelled becomes a failure of the store and the run goes on. After the first Ctrl-C
    (or SIGTERM) the images under way are finished and written; the second raises KeyboardInterrupt. Either way, and
    after a kill, the next run goes on where this one stopped. What is written does not depend on the executor.

    Args:
        job: Makes the work; the same image must give the same masks.
        store: Where the rows go.
        options: What to do, and when to give up; None for the defaults.
        executor: Who does the work; None for this process.

    Returns:
        What was done.

    Raises:
        StoreError: when another process writes these shards of the store.
        WorkerError: when there are no workers to be had.
        OSError: when the store cannot be written, such as on a full disk.
    """
    options = options or RunOptions()
    executor = executor or InlineExecutor()
    with (
        store.writer(options.shards, retry_failed=options.retry_failed) as writer,
        RunLog(store.path) as run_log,
        Interrupt() as interrupt,
    ):
        started = time.monotonic()  # not before, as the writer may have waited for the lock of a machine that died
        if writer.damaged_shards:
            log.warning("shards %s of %s are damaged and are labelled again", writer.damaged_shards, store.path)
        images = sum(len(store.manifest.shard_indices(shard)) for shard in writer.shards)
        found_done = images - writer.count_pending()
        to_do = writer.count_pending(options.limit)
        run_log.write(
            f"dico {dico_version()}: {to_do:,} images to label, {found_done:,} done or failed before; {executor};"
            f" configuration {store.manifest.config_hash}; {options}"
        )

        with executor.session(job) as session:
            tally = Tally(warm_up=session.window)

            def is_over() -> bool:
                return interrupt.requested or (
                    options.max_failures is not None and tally.failed >= options.max_failures
                )

            todo = _Queue(writer.pending(options.limit), gap=store.manifest.shard_size)
            with Progress(
                found_done + to_do, found_done, warm_up=session.window, run_log=run_log, shown=options.show_progress
            ) as shown:
                for result in _Attempts(session, store, options.max_crashes).outcomes(todo, is_over):
                    if result is not None and _write(writer, *result):
                        tally.add(result[1])
                        _log_failure(run_log, store, *result)
                    shown.show(tally)
                    writer.heartbeat()
        unfinished = tally.labelled + tally.failed < to_do
        summary = RunSummary(
            images=images,
            found_done=found_done,
            labelled=tally.labelled,
            failed=tally.failed,
            failed_in_store=writer.failed,
            masks=tally.masks,
            seconds=time.monotonic() - started,
            interrupted=unfinished and interrupt.requested,
            too_many_failures=unfinished and not interrupt.requested,
            failures_path=store.failures_path,
            log_path=run_log.path,
            failed_by_kind=dict(tally.failed_by_kind),
            seconds_by_stage=dict(tally.seconds_by_stage),
            first=min(tally.warm_up, tally.labelled),
            first_by_stage=dict(tally.first_by_stage),
            retries=options.retry_failed,
        )
        run_log.write(summary.sentence())
        return summary


class _Queue:
    """What to hand over next: fresh images in order, and now and then one whose worker died.

    Args:
        fresh: Indices in order.
        gap: An image is handed over again after so many others, or when there are no others: whatever kills workers
            from outside at one time then hits different images, and memory has had time to be freed.
    """

    def __init__(self, fresh: Iterator[int], gap: int) -> None:
        self._fresh = fresh
        self._gap = gap
        self._taken = 0
        self._again: deque[tuple[int, int]] = deque()

    def take(self) -> int | None:
        self._taken += 1
        if self._again and self._again[0][0] <= self._taken:
            return self._again.popleft()[1]
        index = next(self._fresh, None)
        return self._again.popleft()[1] if index is None and self._again else index

    def put_back(self, index: int) -> None:
        self._again.append((self._taken + self._gap, index))


class _Attempts:
    """Hands tasks over, again where a worker died, and counts the deaths over each."""

    def __init__(self, session: Session, store: MaskStore, max_crashes: int) -> None:
        self._session = session
        self._store = store
        self._max_crashes = max_crashes
        self._crashes: Counter[int] = Counter()
        self._blameless: Counter[int] = Counter()

    def outcomes(self, todo: _Queue, is_over: Callable[[], bool]) -> Iterator[tuple[int, Outcome] | None]:
        """Yields outcomes as they come, and None when none comes for a while, until all is done or it is over."""
        under_way = 0
        while True:
            if is_over():
                under_way -= len(self._session.withdraw())
            else:
                while under_way < self._session.window and (index := todo.take()) is not None:
                    entry = self._store.manifest.entries[index]
                    self._session.submit(index, Task(entry, self._store.image_path(entry)))
                    under_way += 1
            if not under_way:
                return
            collected = self._session.collect(TICK_S)
            if collected is None:
                yield None
                continue
            under_way -= 1
            index, result = collected
            if not isinstance(result, Lost):
                yield index, result if isinstance(result, Labelled) else replace(result, attempts=1 + self._lost(index))
            elif (failed := self._failure(index, result)) is not None:
                yield index, failed
            else:
                todo.put_back(index)

    def _failure(self, index: int, lost: Lost) -> Failed | None:
        """The failure that a lost task is, or None when it is to be tried again."""
        entry = self._store.manifest.entries[index]
        log.warning("%s: its worker was %s", entry.path, lost.reason)
        counts, most = (self._blameless, MAX_BLAMELESS) if lost.blameless else (self._crashes, self._max_crashes)
        counts[index] += 1
        if counts[index] < most:
            return None
        return Failed(lost.kind, f"its worker was {lost.reason}", lost.traceback, self._lost(index))

    def _lost(self, index: int) -> int:
        return self._crashes[index] + self._blameless[index]


def _write(writer: StoreWriter, index: int, outcome: Outcome) -> bool:
    if isinstance(outcome, Failed):
        path = writer.manifest.entries[index].path
        return writer.fail(
            Failure(index, path, outcome.kind, outcome.error, outcome.traceback, attempts=outcome.attempts)
        )
    return writer.add(index, outcome.row)


def _log_failure(run_log: RunLog, store: MaskStore, index: int, outcome: Outcome) -> None:
    if isinstance(outcome, Failed):
        path = store.manifest.entries[index].path
        run_log.write(f"failed: {path} ({outcome.kind}): {outcome.error.splitlines()[0]}")

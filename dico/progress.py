"""How far a run is: a bar on a terminal, a line every half minute elsewhere, and the same line in the run log."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dico.run_log import RunLog
from dico.run_summary import Tally
from dico.speed import Speed

LINE_EVERY_S = 30.0


class Progress:
    """Progress of a run, to be used in a ``with`` block.

    Args:
        total: Images of the run.
        found_done: How many of them were done before.
        warm_up: As for :class:`dico.speed.Speed`.
        run_log: Gets a line every half minute.
        shown: Whether standard error gets anything.
    """

    def __init__(self, total: int, found_done: int, *, warm_up: int, run_log: RunLog, shown: bool) -> None:
        self._total = total
        self._found_done = found_done
        self._speed = Speed(total - found_done, warm_up=warm_up)
        self._run_log = run_log
        # Some terminals, of containers and scripts, have no width, and a bar has no place there.
        as_bar = shown and sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
        self._as_lines = shown and not as_bar
        self._bar = tqdm(
            total=total,
            initial=found_done,
            unit=" images",
            file=sys.stderr,
            disable=not as_bar,
            dynamic_ncols=True,
        )
        self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        self._redirect = logging_redirect_tqdm()  # a warning would tear the bar
        if not self._bar.disable:
            self._redirect.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:
            self._redirect.__exit__(kind, error, trace)
        self._bar.close()

    def show(self, tally: Tally) -> None:
        """Brings what is shown up to date; to be called after every image, and now and then without."""
        now_done = tally.labelled + tally.failed
        self._bar.set_postfix(failed=tally.failed, refresh=False)
        self._bar.update(self._found_done + now_done - self._bar.n)
        now = time.monotonic()
        speed = self._speed.told(now_done, now)
        if now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        line = f"{self._found_done + now_done:,} of {self._total:,} images, {tally.failed:,} failed, {speed}"
        self._run_log.write(line)
        if self._as_lines:
            print(f"dico: {line}", file=sys.stderr, flush=True)

"""Workers that are not ready yet: how long a start may take, how many failed in a row, and when to try again."""

from __future__ import annotations

import math

PAUSE_S = 2.0
"""After a failed start the next one waits so long for each that failed in a row: what was short may be there then."""
MAX_PAUSE_S = 60.0


class Starts:
    """Keeps count of the starts of a session. The time now is told by the caller, in seconds of any clock.

    Args:
        limit_s: A worker that is not ready after so long is overdue; None when it may take for ever.

    Attributes:
        any_was_ready: Whether any worker of the session ever got ready.
        failed_in_a_row: Starts that failed since a worker got ready last.
    """

    def __init__(self, limit_s: float | None = None) -> None:
        self.limit_s = limit_s
        self.any_was_ready = False
        self.failed_in_a_row = 0
        self._deadlines: dict[int, float] = {}
        self._paused_until = -math.inf

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, worker: int) -> bool:
        return worker in self._deadlines

    def may_begin(self, now: float) -> bool:
        """Whether a worker may be started, or the pause after a failed start goes on."""
        return now >= self._paused_until

    def begin(self, worker: int, now: float) -> None:
        """A worker was started."""
        self._deadlines[worker] = now + (math.inf if self.limit_s is None else self.limit_s)

    def succeed(self, worker: int) -> None:
        """A worker is ready."""
        del self._deadlines[worker]
        self.any_was_ready = True
        self.failed_in_a_row = 0
        self._paused_until = -math.inf

    def drop(self, worker: int) -> None:
        """A worker is gone before it was ready, through no fault of its own: that is no failed start."""
        del self._deadlines[worker]

    def fail(self, now: float, worker: int | None = None) -> None:
        """A start failed; None when there was not even a worker."""
        if worker is not None:
            del self._deadlines[worker]
        self.failed_in_a_row += 1
        self._paused_until = now + min(MAX_PAUSE_S, PAUSE_S * self.failed_in_a_row)

    def overdue(self, now: float) -> list[int]:
        """The workers that should have been ready by now."""
        return [worker for worker, deadline in self._deadlines.items() if deadline <= now]

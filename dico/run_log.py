"""The run log: what happened in a run, for whoever looks at a store the next morning."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path
from types import TracebackType

FOLDER = "logs"
FORMAT = "%(asctime)s %(levelname)s %(message)s"


class RunLog:
    """A text file in the store, one a run, to be used in a ``with`` block; warnings of the package go there, too.

    Args:
        store: Folder of the store.

    Attributes:
        path: ``logs/<time in UTC>-<host>-<process>.log``.
    """

    def __init__(self, store: Path) -> None:
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.path = store / FOLDER / f"{started}-{socket.gethostname()}-{os.getpid()}.log"

    def __enter__(self) -> RunLog:
        self.path.parent.mkdir(exist_ok=True)
        self._handler = logging.FileHandler(self.path, encoding="utf-8", errors="backslashreplace")
        formatter = logging.Formatter(FORMAT)
        formatter.converter = time.gmtime
        self._handler.setFormatter(formatter)
        logging.getLogger("dico").addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.write(f"ended by {kind.__name__ if kind else 'an error'}: {error}")
        logging.getLogger("dico").removeHandler(self._handler)
        self._handler.close()

    def write(self, text: str) -> None:
        """Adds a line, or several; they are for this file alone and not for other handlers of the package's logger."""
        for line in text.splitlines():
            self._handler.handle(logging.makeLogRecord({"levelname": "INFO", "levelno": logging.INFO, "msg": line}))

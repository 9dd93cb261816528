"""An extractor that lives in another process, as its clients see it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from dico.features.base import PatchFeatures
from dico.image import Image


@dataclass(frozen=True)
class Request:
    """Images to extract features of, and at what size; see :class:`dico.features.base.Extractor`."""

    images: tuple[Image, ...]
    size: int | None


Answer = list[PatchFeatures] | Exception
"""The features, or what the extractor raised."""


class RemoteExtractor:
    """Asks a :class:`dico.executors.feature_server.FeatureServer`, one question at a time.

    Args:
        connection: To the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        """As :class:`dico.features.base.Extractor` says; raises what the extractor raises.

        Raises:
            SystemExit: when the server is gone, which is no fault of the image: this process is of no more use.
        """
        try:
            self._connection.send(Request(tuple(images), size))
            answer: Answer = self._connection.recv()
        except (EOFError, OSError):
            sys.exit("the feature server is gone")
        if isinstance(answer, Exception):
            raise answer
        return answer

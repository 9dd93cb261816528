"""What every evaluation is: predictions, which several processes can share, and a report on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from dico.image import Image
from dico.masks import MaskSet

Predict = Callable[[Image], MaskSet]
"""Gives an image its masks, of the image's own size: a :class:`training.predictor.Predictor`, or any function."""

M = TypeVar("M", contravariant=True)
"""What is asked: one that gives an image its masks, or one that can be clicked."""
P = TypeVar("P")
"""What is predicted for one image; it is pickled when it goes to another process."""


class Report(Protocol):
    """What an evaluation found."""

    @property
    def name(self) -> str:
        """What was evaluated on, for tables and logs."""
        ...

    def scalars(self) -> dict[str, float]:
        """The figures that a log shows, by names such as ``"coco/AR@100"``; in percent."""
        ...

    def table(self) -> str:
        """The figures as text."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data."""
        ...


class Evaluator(Protocol[M, P]):
    """Asks a model about the images of a data set and compares what it says with ground truth.

    Attributes:
        name: What the data set is called.
    """

    name: str

    def predictions(self, model: M, /, *, rank: int = 0, world_size: int = 1) -> Iterator[P]:
        """What a model says, image by image.

        Args:
            model: The model, as this evaluation asks it.
            rank: Which share of the images, from 0.
            world_size: How many shares there are; together they are all images, each once.

        Yields:
            What :meth:`report` takes.
        """
        ...

    def report(self, predictions: Iterable[P]) -> Report:
        """The figures of predictions.

        Args:
            predictions: Those of all shares, in any order.
        """
        ...

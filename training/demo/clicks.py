"""What was clicked on a photograph, in order, and what is asked by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

BoxXyxy = tuple[int, int, int, int]


class Use(StrEnum):
    """What a click is for, in the words of the page."""

    WANTED = "Wanted"
    NOT_WANTED = "Not wanted"
    CORNER = "Box corner"


@dataclass(frozen=True)
class Click:
    """A click on a pixel of the photograph.

    Attributes:
        x: Its column, from 0.
        y: Its row, from 0.
        use: What it is for.
    """

    x: int
    y: int
    use: Use


def pixel_at(place_xy: Sequence[float], view_hw: tuple[int, int], size_hw: tuple[int, int]) -> tuple[int, int]:
    """The pixel of a photograph under a place on the picture of it.

    Args:
        place_xy: In pixels of the picture, from its upper left corner.
        view_hw: Height and width of the picture.
        size_hw: Those of the photograph.

    Returns:
        Column and row; within the photograph also for its far edges.

    Example:
        >>> pixel_at((0, 7), (8, 16), (4, 8)), pixel_at((16, 8), (8, 16), (4, 8))
        ((0, 3), (7, 3))
    """
    x, y = (int(place * size / view) for place, size, view in zip(place_xy, size_hw[::-1], view_hw[::-1], strict=True))
    return min(max(x, 0), size_hw[1] - 1), min(max(y, 0), size_hw[0] - 1)


def points_of(clicks: Sequence[Click]) -> tuple[list[tuple[int, int]], list[int]]:
    """The pixels that belong, or do not, to what is meant; and for each of them 1, or 0."""
    points = [click for click in clicks if click.use is not Use.CORNER]
    return [(click.x, click.y) for click in points], [int(click.use is Use.WANTED) for click in points]


def open_corner(clicks: Sequence[Click]) -> Click | None:
    """The corner of a box whose other one has not been clicked yet."""
    corners = [click for click in clicks if click.use is Use.CORNER]
    return corners[-1] if len(corners) % 2 else None


def box_of(clicks: Sequence[Click]) -> BoxXyxy | None:
    """The box that was clicked last, half-open: it holds the pixels of both corners. None while one is missing.

    Example:
        >>> box_of([Click(9, 2, Use.CORNER), Click(4, 4, Use.WANTED), Click(3, 5, Use.CORNER)])
        (3, 2, 10, 6)
    """
    corners = [click for click in clicks if click.use is Use.CORNER]
    if not corners or len(corners) % 2:
        return None
    xs, ys = [corner.x for corner in corners[-2:]], [corner.y for corner in corners[-2:]]
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def is_answerable(clicks: Sequence[Click]) -> bool:
    """Whether a model can be asked: there is a box, or a point that is wanted."""
    return box_of(clicks) is not None or any(click.use is Use.WANTED for click in clicks)

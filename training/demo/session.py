"""What one tab of the page holds, and how it goes on: values that never change, and functions that give new ones.

So tabs share the model and nothing else.

Axes: N masks of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dico.image import Image
from dico.masks import NO_PARENT, MaskSet
from training.automatic_masks import AutomaticMasks
from training.demo.clicks import Click, Use, box_of, is_answerable, points_of
from training.granularity import chosen
from training.pixel_prompts import checked
from training.prompt_predictor import PromptPredictor, SeenImage

MOST_SHARE = 0.5
"""After clicks alone, a mask of more than this share of the photograph is not the first to be shown: briefly trained
models are surest of the largest, and who clicks on a thing rarely means most of what is there."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model said.

    Attributes:
        masks: Those of a prompt, by rising area; or all of the image.
        is_everything: Whether they are all of the image, with a hierarchy.
        place: Which mask of a prompt is chosen.
        granularity: From 0.0, parts, to 1.0, wholes.
    """

    masks: MaskSet
    is_everything: bool
    place: int
    granularity: float

    def picked(self, place: int) -> Answer:
        """With another mask of the prompt chosen."""
        return replace(self, place=place, granularity=_granularity_of(self.masks, place))

    def at(self, granularity: float) -> Answer:
        """At another granularity: another mask of a prompt, or other masks of the image."""
        place = self.place if self.is_everything else chosen(self.masks.area_px, granularity)
        return replace(self, place=place, granularity=granularity)

    def shown(self) -> MaskSet:
        """The one mask that is chosen, or the masks of the image at the granularity."""
        if not self.is_everything:
            return self.masks[[self.place]]
        return self.masks.at_theta(_theta_of(self.masks, self.granularity))


@dataclass(frozen=True, eq=False)
class Session:
    """One tab: a photograph, what was clicked on it, and the answer.

    Attributes:
        name: Of the photograph's file.
        image: uint8 (H, W, 3).
        seen: What the model is asked about.
        clicks: In order.
        answer: None where nothing was asked.
    """

    name: str
    image: Image
    seen: SeenImage
    clicks: tuple[Click, ...] = ()
    answer: Answer | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the photograph."""
        return self.image.shape[0], self.image.shape[1]


class Segmenter:
    """A promptable model, asked on behalf of tabs.

    Args:
        predictor: The model. It is given the image of the tab with every question and keeps none.
        automatic: How it is asked for everything.
    """

    def __init__(self, predictor: PromptPredictor, automatic: AutomaticMasks) -> None:
        self._predictor = predictor
        self._automatic = automatic

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        config_file: str | Path | None = None,
        overrides: Sequence[str] = (),
        device: torch.device | str = "cpu",
    ) -> Segmenter:
        """The segmenter of a checkpoint.

        Args:
            path: As for :func:`training.promptable_checkpoint.load_promptable`.
            config_file: Likewise.
            overrides: Likewise.
            device: As for :func:`training.device.choose_device`.

        Raises:
            CheckpointError, FileNotFoundError, KeyError, ValueError, TypeError: likewise.
        """
        automatic = AutomaticMasks.from_checkpoint(path, config_file=config_file, overrides=overrides, device=device)
        return cls(automatic.predictor, automatic)

    def open(self, image: Image, name: str) -> Session:
        """A tab with a photograph on which nothing was clicked.

        Args:
            image: uint8 (H, W, 3), RGB.
            name: Of its file.
        """
        return Session(name, image, self._predictor.embed(image))

    def with_click(self, session: Session, click: Click) -> Session:
        """The tab after a click."""
        return self._asked(session, (*session.clicks, click))

    def undone(self, session: Session) -> Session:
        """The tab without its last click; or without everything, with the answer to the clicks before it."""
        shows_everything = session.answer is not None and session.answer.is_everything
        return self._asked(session, session.clicks if shows_everything else session.clicks[:-1])

    def cleared(self, session: Session) -> Session:
        """The tab with the photograph alone."""
        return replace(session, clicks=(), answer=None)

    def with_everything(self, session: Session) -> Session:
        """The tab with all masks of its photograph at a middle granularity; its clicks wait for :meth:`undone`."""
        return replace(session, answer=Answer(self._automatic(session.image), True, 0, 0.5))

    def _asked(self, session: Session, clicks: tuple[Click, ...]) -> Session:
        if not is_answerable(clicks):
            return replace(session, clicks=clicks, answer=None)
        points, labels = points_of(clicks)
        box = box_of(clicks)
        prompts = checked(
            session.size_hw,
            np.array([points], dtype=np.float64).reshape(1, -1, 2),
            np.array([labels], dtype=np.int64).reshape(1, -1),
            None if box is None else [box],
        )
        (masks,) = self._predictor.answers(session.seen, prompts)
        answer = Answer(masks, False, 0, 0.0).picked(shown_first(masks, has_box=box is not None))
        return replace(session, clicks=clicks, answer=answer)


def shown_first(masks: MaskSet, *, has_box: bool) -> int:
    """The place of the mask of the highest predicted IoU, of those at most as large as :data:`MOST_SHARE` says.

    After a box, which says how large what is meant is, and where all are larger: of all. An empty one only where all
    are.

    Args:
        masks: Of one prompt, at least one.
        has_box: Whether it was asked by a box.
    """
    filled_N = masks.area_px > 0
    small_N = filled_N & (masks.area_px <= MOST_SHARE * np.prod(masks.size_hw))
    may_be_N = small_N if small_N.any() and not has_box else filled_N
    return int(np.where(may_be_N, masks.score, -np.inf).argmax())


def _theta_of(masks: MaskSet, granularity: float) -> float:
    """Where masks of everything are cut: the largest ones, more and more of them, are opened into their parts.

    How many grows on a scale of ratios, as areas do along the slider of a prompt, so what one sees changes all the way.
    By theta itself most of the way would do nothing, as a single speck has the largest.
    """
    opened_N = np.sort(masks.theta[np.unique(masks.parent[masks.parent != NO_PARENT])])
    count = round((len(opened_N) + 1) ** (1 - granularity)) - 1
    return min(1.0, float(np.nextafter(opened_N[count - 1], np.inf))) if count else 0.0


def _granularity_of(masks: MaskSet, place: int) -> float:
    """The granularity that means this mask of a prompt: the inverse of :func:`training.granularity.chosen`."""
    area_N = masks.area_px
    filled_N = area_N[area_N > 0]
    if not area_N[place] or filled_N[0] == filled_N[-1]:
        return 0.0
    return float(np.log(area_N[place] / filled_N[0]) / np.log(filled_N[-1] / filled_N[0]))


def next_step(session: Session) -> str:
    """What to do while there is no answer, as a sentence."""
    if any(click.use is Use.NOT_WANTED for click in session.clicks):
        return "Now click on what is wanted."
    return "Click on a thing."

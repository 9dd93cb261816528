"""A trained promptable model as users know such predictors: an image is set once, then asked as often as one likes.

Axes: P prompts, K points of a prompt, Q masks of a prompt (six), G those that are given: all Q, or the one of a
granularity; H W pixels of the image; 2 = x, y; 4 = left, top, right, bottom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dico.image import Image, crop
from dico.masks import MaskSet
from training.close_up import Box, seen_in, windows_of
from training.config import InferenceConfig, PromptConfig
from training.device import choose_device
from training.given_image import require_image
from training.granularity import Granularity, chosen, require_granularity
from training.models.promptable import ImageFeatures, PromptableModel
from training.pixel_prompts import PixelPrompts, checked, network_prompts, numbers, prompts_of
from training.postprocess.filters import inside_crop, pasted
from training.postprocess.frame import Frame
from training.postprocess.prompt_masks import from_part_to_whole, logits_of_prompt, masks_of_prompts
from training.postprocess.regions import without_small_regions
from training.predictor import asked, network_input, threads_beside
from training.prompt_fit import fitted
from training.promptable_checkpoint import load_promptable
from training.prompts import PromptOutput, Prompts
from training.representatives import representatives

ORDERS = ("area", "iou")
"""Masks of a prompt from the smallest to the largest, or from the highest predicted IoU to the lowest."""
PROMPTS_AT_ONCE = 200
"""So many go through the decoder together; what comes out does not depend on it."""
FEW_PROMPTS = 16
"""So many are answered by one thread of torch: their layers are so small that several wait for one another, and long on
cores that others use, too."""

KEPT_WINDOWS = 8
"""So many windows of an image stay embedded, those asked last: corrections mostly fall into the same ones."""


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image that was embedded; may be kept, and asked through the predictor that embedded it.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        features: What prompts are answered from.
        frame: The sizes of the image.
        windows: Those of its windows that were asked last, by their boxes; the predictor fills it.
    """

    image: Image
    features: ImageFeatures
    frame: Frame
    windows: dict[Box, SeenImage] = field(default_factory=dict, init=False, repr=False)


class PromptPredictor:
    """Answers clicks and boxes on an image.

    Args:
        model: Put on the device, and in evaluation mode whenever it is asked.
        config: At which size and precision the model sees images.
        click_px: Side of the square that a click is to the model, in pixels of its input: that of its training.
        device: A device of torch.
        threads: As for :class:`training.predictor.Predictor`. The network looks at an image with as many as
            torch has, and answers a few prompts with one.

    Example:
        >>> from training.config import PromptableConfig
        >>> model = PromptableModel(PromptableConfig(backbone="tiny", width=32, encoder_layers=1, decoder_layers=1))
        >>> predictor = PromptPredictor(model, InferenceConfig(short_side=64, long_side=96))
        >>> predictor.set_image(np.zeros((40, 50, 3), dtype=np.uint8))
        >>> masks, ious = predictor.predict(points=[[10, 20], [40, 30]], labels=[1, 0])
        >>> masks.shape, ious.shape
        ((6, 40, 50), (6,))
    """

    def __init__(
        self,
        model: PromptableModel,
        config: InferenceConfig,
        *,
        click_px: float = PromptConfig.click_px,
        device: torch.device | str = "cpu",
        threads: int | None = None,
    ) -> None:
        self._model = model.to(device)
        self._config = config
        self._click_px = click_px
        self._device = torch.device(device)
        self.threads = threads_beside(self._device) if threads is None else threads
        self._seen: SeenImage | None = None

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: torch.device | str = "cpu",
        config_file: str | Path | None = None,
        overrides: Sequence[str] = (),
        threads: int | None = None,
    ) -> PromptPredictor:
        """The predictor of a checkpoint.

        Args:
            path: As for :func:`training.promptable_checkpoint.load_promptable`.
            device: As for :func:`training.device.choose_device`: ``auto`` takes a GPU where there is one.
            config_file: As ``path``.
            overrides: Likewise.
            threads: As for the class.

        Raises:
            CheckpointError, FileNotFoundError, KeyError, ValueError, TypeError: likewise.
        """
        device = choose_device(device)
        model, config = load_promptable(path, config_file=config_file, overrides=overrides)
        return cls(model, config.inference, click_px=config.prompts.click_px, device=device, threads=threads)

    def embed(self, image: Image) -> SeenImage:
        """An image as it can be asked; the predictor does not keep it.

        Args:
            image: uint8 (H, W, 3), RGB.

        Raises:
            TypeError, ValueError: as :func:`training.given_image.require_image` does.
        """
        require_image(image)
        images_B3HW, frame = network_input(image, self._config)
        with asked(self._model, self._device, self._config):
            features = self._model.embed(images_B3HW.to(self._device), [frame.unpadded_hw])
        return SeenImage(image, features, frame)

    def set_image(self, image: Image | SeenImage) -> None:
        """Makes an image the one that is asked.

        Args:
            image: As for :meth:`embed`; or what that gave.
        """
        self._seen = image if isinstance(image, SeenImage) else self.embed(image)

    @property
    def image(self) -> SeenImage:
        """The image that is asked.

        Raises:
            RuntimeError: before :meth:`set_image`.
        """
        if self._seen is None:
            raise RuntimeError("an image must be set before it is asked: call set_image(image) first")
        return self._seen

    def predict(
        self,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        granularity: Granularity | None = None,
        order: str = "area",
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The masks that one prompt may mean.

        Args:
            points: (K, 2): pixels of the image; (0, 0) is the first one.
            labels: (K,): 1 for a point that belongs to what is wanted, 0 for one that does not; None for all 1.
            box: (4,): left, top, right, bottom in pixels, half-open.
            granularity: Gives one mask alone: a whole number for its place by area, from 0, the part; or a fraction
                from 0.0 to 1.0; see :func:`training.granularity.chosen`. None for all masks.
            order: ``area``, from part to whole, or ``iou``, the most certain first.
            return_logits: Give logits in place of masks, above 0 where a mask is before its small regions go, and IoUs
                as predicted, whatever the box; with ``inference.zooms=[1]`` alone.

        Returns:
            bool (G, H, W), or float32 logits; and float32 (G,): the IoU that each mask is expected to have with what is
            meant, which may be a little outside of [0, 1]; less where the prompt contradicts the mask, see
            :func:`training.prompt_fit.fitted`.

        Raises:
            RuntimeError: before :meth:`set_image`.
            ValueError, TypeError: when what is asked makes no sense on this image.
        """
        masks_PGHW, iou_PG = self.predict_batch(
            None if points is None else numbers("points", points, "(K, 2)")[None],
            None if labels is None else numbers("labels", labels, "(K,)")[None],
            None if box is None else numbers("box", box, "(4,)")[None],
            granularity=granularity,
            order=order,
            return_logits=return_logits,
        )
        return masks_PGHW[0], iou_PG[0]

    def predict_batch(
        self,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        *,
        granularity: Granularity | Sequence[Granularity] | None = None,
        order: str = "area",
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The masks that each of several prompts may mean; each as :meth:`predict` gives it alone.

        Args:
            points: (P, K, 2), as for :meth:`predict`; or lists of different lengths.
            labels: (P, K), likewise; -1 for a place that holds no point. Of lists of points, lists as long.
            boxes: (P, 4), likewise.
            granularity: One for all prompts, or P of them.
            order: As for :meth:`predict`.
            return_logits: Likewise.

        Returns:
            bool (P, G, H, W), or float32 logits; and float32 (P, G). They take P times G times H times W bytes;
            :meth:`masks` gives run-length codes, prompt by prompt.

        Raises:
            RuntimeError, ValueError, TypeError: as for :meth:`predict`.
        """
        if order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
        if return_logits and self._config.zooms != (1,):
            raise ValueError(f"return_logits needs inference.zooms=[1], got {list(self._config.zooms)}")
        seen = self.image
        prompts = checked(seen.frame.original_hw, points, labels, boxes)
        Q = self._model.config.masks_per_prompt
        levels = _each(granularity, len(prompts), Q)
        found: list[NDArray[Any]] = []
        ious: list[NDArray[np.float32]] = []
        answers = self._with_logits(seen, prompts) if return_logits else _alone(self.answers(seen, prompts))
        for p, (masks, logits_QHW) in enumerate(answers):
            given_G = _given(masks, levels[p] if levels else None, order)
            ious.append(masks.score[given_G])
            found.append(masks[given_G].decode() if logits_QHW is None else logits_QHW[given_G])
        if not found:
            G = 1 if levels is not None else Q
            shape = (0, G, *seen.frame.original_hw)
            return np.zeros(shape, np.float32 if return_logits else bool), np.zeros((0, G), np.float32)
        return np.stack(found), np.stack(ious)

    def masks(
        self, points: ArrayLike | None = None, labels: ArrayLike | None = None, boxes: ArrayLike | None = None
    ) -> Iterator[MaskSet]:
        """The masks that each of several prompts may mean, as run-length codes.

        Args:
            points: As for :meth:`predict_batch`.
            labels: Likewise.
            boxes: Likewise.

        Returns:
            What :meth:`answers` yields; each prompt is answered when it is asked for.

        Raises:
            RuntimeError, ValueError: as for :meth:`predict`, at once.
        """
        return self.answers(self.image, checked(self.image.frame.original_hw, points, labels, boxes))

    def answers(self, seen: SeenImage, prompts: PixelPrompts) -> Iterator[MaskSet]:
        """The masks that each of several prompts may mean, from the whole image and from windows around the prompt.

        Args:
            seen: The image.
            prompts: What is asked of it.

        Yields:
            As many masks of each prompt as the model gives, by rising area, as
            :func:`training.postprocess.prompt_masks.masks_of_prompts` does, without regions that are smaller than
            ``inference.min_region_share``, and scored as :func:`training.prompt_fit.fitted` says. With several
            ``inference.zooms``, those that :func:`training.representatives.representatives` chooses of all views.

        Raises:
            ValueError: when predicted IoUs are not finite.
        """
        size_hw = seen.frame.original_hw
        windows = windows_of(prompts, size_hw, self._config.zooms)
        if not windows:
            for p, masks in enumerate(self._of_view(seen, prompts)):
                yield fitted(masks, prompts, p)
            return
        views = [[masks] for masks in self._of_view(seen, prompts)]
        for window, of_window in windows.items():
            part = self._window(seen, window)
            for p, masks in zip(of_window, self._of_view(part, seen_in(window, prompts, of_window)), strict=True):
                whole = masks[(masks.area_px > 0) & inside_crop(masks.boxes_xyxy, window, size_hw, 0)]
                views[p].append(pasted(whole, window, size_hw))
        for p, of_prompt in enumerate(views):
            yield representatives(fitted(MaskSet.concat(of_prompt), prompts, p), len(of_prompt[0]))

    def _window(self, seen: SeenImage, window: Box) -> SeenImage:
        kept = seen.windows
        part = kept.pop(window, None) or self.embed(crop(seen.image, window))
        kept[window] = part  # as the last one
        for longest_ago in list(kept)[:-KEPT_WINDOWS]:
            kept.pop(longest_ago, None)
        return part

    def _of_view(self, seen: SeenImage, prompts: PixelPrompts) -> Iterator[MaskSet]:
        for raw in self._raw(seen, prompts):
            cleaned, changed_N = without_small_regions(raw, 0, self._config.min_region_share)
            yield from_part_to_whole(cleaned) if changed_N.any() else raw

    def _raw(self, seen: SeenImage, prompts: PixelPrompts) -> Iterator[MaskSet]:
        """Masks as the network gives them."""
        for output in self.outputs(seen, network_prompts(seen.frame, prompts, click_px=self._click_px)):
            yield from masks_of_prompts(output, seen.frame, threads=self.threads)

    def _with_logits(
        self, seen: SeenImage, prompts: PixelPrompts
    ) -> Iterator[tuple[MaskSet, NDArray[np.float32] | None]]:
        """What :meth:`_raw` gives, and the logits of the same masks."""
        for output in self.outputs(seen, network_prompts(seen.frame, prompts, click_px=self._click_px)):
            for p, masks in enumerate(masks_of_prompts(output, seen.frame, threads=self.threads)):
                yield masks, logits_of_prompt(output, seen.frame, p)

    def outputs(self, seen: SeenImage, prompts: Prompts) -> Iterator[PromptOutput]:
        """What the model says to prompts of an image, some at a time, in order.

        Args:
            seen: The image.
            prompts: Of a batch of one image.
        """
        for part in prompts.chunks(PROMPTS_AT_ONCE):
            few = part.kind_BP.shape[1] <= FEW_PROMPTS
            with asked(self._model, self._device, self._config), _one_thread() if few else nullcontext():
                output = self._model.decode(seen.features, part.to(self._device))
            yield output

    def prompts(
        self,
        seen: SeenImage,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
    ) -> Prompts:
        """What the model is asked about an image.

        Args:
            seen: The image.
            points: As for :meth:`predict_batch`.
            labels: Likewise.
            boxes: Likewise.

        Raises:
            ValueError: as for :func:`training.pixel_prompts.prompts_of`.
        """
        return prompts_of(seen.frame, points, labels, boxes, click_px=self._click_px)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _alone(answers: Iterator[MaskSet]) -> Iterator[tuple[MaskSet, NDArray[np.float32] | None]]:
    return ((masks, None) for masks in answers)


def _each(granularity: object, prompts: int, masks: int) -> list[Any] | None:
    """One granularity a prompt, checked; None for all masks of every prompt."""
    if granularity is None:
        return None
    if isinstance(granularity, str) or not isinstance(granularity, Sequence | np.ndarray):
        require_granularity(granularity, masks)
        return [granularity] * prompts
    levels = list(granularity)
    if len(levels) != prompts:
        raise ValueError(f"granularity must be one number, or one for each of the {prompts} prompts, got {len(levels)}")
    for level in levels:
        require_granularity(level, masks)
    return levels


def _given(masks: MaskSet, granularity: Granularity | None, order: str) -> NDArray[np.int64]:
    """Which masks of a prompt are given, by their places."""
    if granularity is not None:
        return np.array([chosen(masks.area_px, granularity)])
    return np.argsort(-masks.score, kind="stable") if order == "iou" else np.arange(len(masks))

"""All masks of an image from a promptable model: a grid of clicks, of whose masks the good and distinct ones are kept.

Source: Kirillov et al. 2023 (Segment Anything), Sec. B, as Semantic-SAM (Li et al. 2023) uses it: each click gives six
masks. Deviations: masks are run-length codes from the start, so memory does not grow with their number; small regions
go before masks are compared and not afterwards, of each crop, whose pixels are those of the image; a mask that is small
itself goes, too; and the set has a hierarchy.

Axes: P clicks of an image, N masks.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dico.config import SelectConfig
from dico.image import Image, crop
from dico.masks import MaskSet
from dico.selection import drop_small, link_parents, suppress, top
from dico.stopwatch import stage
from training.click_grid import Crop, click_grid, crops_of
from training.config import AutomaticConfig, InferenceConfig
from training.device import choose_device
from training.given_image import require_image
from training.postprocess.filters import distinct_boxes, inside_crop, pasted
from training.postprocess.prompt_masks import predicted_ious, theta_of_area, trace_masks
from training.postprocess.regions import without_small_regions
from training.prompt_predictor import PromptPredictor
from training.promptable_checkpoint import load_promptable

log = logging.getLogger(__name__)

SOURCE = "automatic"
"""What the masks say of where they come from."""


class AutomaticMasks:
    """Finds the masks of images with a promptable model.

    Args:
        predictor: The model; the image that is set in it stays so.
        config: Where it clicks, and which masks are kept.
        limits: Of which ``max_masks``, ``min_score``, ``max_iou`` and ``min_area_px`` are applied at the end; and
            ``min_region_share`` to every mask at first.

    Example:
        >>> from training.config import PromptableConfig
        >>> from training.models.promptable import PromptableModel
        >>> model = PromptableModel(PromptableConfig(backbone="tiny", width=32, encoder_layers=1, decoder_layers=1))
        >>> inference = InferenceConfig(short_side=64, long_side=96)
        >>> automatic = AutomaticMasks(PromptPredictor(model, inference), AutomaticConfig(points_per_side=2), inference)
        >>> automatic(np.zeros((40, 50, 3), dtype=np.uint8)).size_hw
        (40, 50)
    """

    def __init__(self, predictor: PromptPredictor, config: AutomaticConfig, limits: InferenceConfig) -> None:
        self._predictor = predictor
        self._config = config
        self._limits = limits

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: torch.device | str = "cpu",
        overrides: Sequence[str] = (),
        config_file: str | Path | None = None,
        threads: int | None = None,
    ) -> AutomaticMasks:
        """The masks that the model of a checkpoint finds, asked as the checkpoint itself says.

        Args:
            path: As for :meth:`training.prompt_predictor.PromptPredictor.from_checkpoint`.
            device: Likewise.
            overrides: Likewise; such as ``"automatic.min_iou=0.5"``.
            config_file: Likewise.
            threads: Likewise.

        Raises:
            CheckpointError, FileNotFoundError, KeyError, ValueError, TypeError: likewise.
        """
        device = choose_device(device)
        model, config = load_promptable(path, config_file=config_file, overrides=overrides)
        click_px = config.prompts.click_px
        predictor = PromptPredictor(model, config.inference, click_px=click_px, device=device, threads=threads)
        return cls(predictor, config.automatic, config.inference)

    @property
    def predictor(self) -> PromptPredictor:
        """The model that is asked, which answers clicks and boxes, too."""
        return self._predictor

    def __call__(self, image: Image) -> MaskSet:
        """The masks of an image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            Masks of the image's own size, by falling score, which is the predicted IoU. The parent of a mask is the
            smallest that it lies in; levels count its ancestors, and theta is that of its area, see
            :func:`training.postprocess.prompt_masks.theta_of_area`: so ``masks.at_theta(theta)`` is the image at one
            granularity. Where no mask is left, a warning names the setting that dropped most.

        Raises:
            TypeError, ValueError: when it is no such image, or the network's scores are not finite.
        """
        require_image(image)
        crops = crops_of((image.shape[0], image.shape[1]), self._config)
        dropped: Counter[str] = Counter()
        parts = [self._of_crop(image, part, dropped) for part in crops]
        with stage("masks"):
            masks = MaskSet.concat(parts)
            # The smaller a crop is, the more was seen of what is in it.
            seen_px_N = np.repeat([part.area_px for part in crops], list(map(len, parts)))
            masks = masks[np.lexsort((-masks.score, seen_px_N))]
            masks = self._limited(self._distinct(masks, -np.arange(len(masks), dtype=np.float64)), dropped)
        if not len(masks) and dropped.total():
            ((setting, most),) = dropped.most_common(1)
            log.warning("no mask is left: %s dropped %s of %s; lower, it keeps more", setting, most, dropped.total())
        return masks

    def _of_crop(self, image: Image, part: Crop, dropped: Counter[str]) -> MaskSet:
        """The masks of a crop, in the frame of the image; counts what it drops by the setting that says so."""
        size_hw = (image.shape[0], image.shape[1])
        with stage("network"):
            seen = self._predictor.embed(crop(image, part.box_xyxy))
        crop_hw = seen.frame.original_hw
        prompts = self._predictor.prompts(seen, click_grid(crop_hw, part.points_per_side)[:, None])
        floors = {"automatic.min_iou": self._config.min_iou, "inference.min_score": self._limits.min_score}
        floor = max(floors, key=lambda name: floors[name])
        rles: list[bytes] = []
        scores: list[NDArray[np.float32]] = []
        with stage("clicks"):
            for output in self._predictor.outputs(seen, prompts):
                iou_N = predicted_ious(output).ravel()
                chosen_N = np.flatnonzero(iou_N >= floors[floor])
                # No floor could be low enough for those that are predicted to be worse than none.
                dropped[f"{floor}={floors[floor]:g}"] += int((iou_N >= 0).sum()) - len(chosen_N)
                traced = trace_masks(
                    output,
                    seen.frame,
                    torch.from_numpy(chosen_N),
                    threads=self._predictor.threads,
                    offset=self._config.stability_offset,
                )
                stable = [mask.area_px > 0 and mask.stability >= self._config.min_stability for mask in traced]
                not_empty = sum(mask.area_px > 0 for mask in traced)  # no setting keeps the others
                dropped[f"automatic.min_stability={self._config.min_stability:g}"] += not_empty - sum(stable)
                rles += [mask.rle for mask, is_stable in zip(traced, stable, strict=True) if is_stable]
                scores.append(iou_N[chosen_N[np.array(stable, dtype=bool)]])
        masks = MaskSet.from_rles(crop_hw, rles, score=np.concatenate(scores), source=SOURCE)
        cleaned = self._cleaned(masks)
        dropped[f"automatic.min_region_px={self._config.min_region_px}"] += len(masks) - len(cleaned)
        masks = cleaned[inside_crop(cleaned.boxes_xyxy, part.box_xyxy, size_hw, self._config.crop_edge_px)]
        dropped[f"automatic.crop_edge_px={self._config.crop_edge_px}"] += len(cleaned) - len(masks)
        masks = self._distinct(masks, masks.score)
        return masks if crop_hw == size_hw else pasted(masks, part.box_xyxy, size_hw)

    def _cleaned(self, masks: MaskSet) -> MaskSet:
        """Masks without specks and pinholes; before their boxes are compared, as a speck makes a box too large."""
        least_px = self._config.min_region_px
        masks, _ = without_small_regions(masks, least_px, self._limits.min_region_share)
        return drop_small(masks, least_px)

    def _distinct(self, masks: MaskSet, rank_N: NDArray[np.floating]) -> MaskSet:
        return masks[distinct_boxes(masks.boxes_xyxy, rank_N, self._config.max_box_iou)]

    def _limited(self, masks: MaskSet, dropped: Counter[str]) -> MaskSet:
        before, masks = len(masks), drop_small(masks, self._limits.min_area_px)
        dropped[f"inference.min_area_px={self._limits.min_area_px}"] += before - len(masks)
        if self._limits.max_iou < 1:
            masks = suppress(masks, self._limits.max_iou)
        masks = link_parents(top(masks, self._limits.max_masks), SelectConfig.min_inside_parent)
        return masks.with_fields(level=masks.depth(), theta=theta_of_area(masks.area_px, masks.size_hw))

"""What training lowers, for each task: the model is called once, and its losses are taken.

Everything that is drawn for an image, prompts and points of the losses, is a function of the seed and its position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.config import LossConfig, TrainConfig
from training.data.corrections import corrected_from, with_corrections
from training.data.prompts import Asked, batch_of, draw_prompts, targets_of
from training.data.randomness import Purpose, generator
from training.engine.trainer import Objective
from training.models.criterion import Criterion
from training.models.points import LossPoints, draw_points
from training.models.prompt_criterion import PromptCriterion, PromptLosses
from training.prompts import Answer, PromptOutput, Prompts
from training.samples import Batch, Losses


def build_objective(config: TrainConfig) -> Objective:
    """What training lowers.

    Args:
        config: Its task, its losses and, for ``promptable``, its prompts.
    """
    return prompt_objective(config) if config.task == "promptable" else whole_image_objective(config)


def whole_image_objective(config: TrainConfig) -> Objective:
    """The losses of a whole-image model, at points that are drawn for each image."""
    criterion = Criterion(config.loss)

    def objective(model: nn.Module, batch: Batch) -> Losses:
        output = model(batch.images_BCHW, sizes_hw=batch.sizes_hw, deep_supervision=True)
        return criterion.at_points(output, batch.targets, loss_points(config.loss, config.seed, batch))

    return objective


def prompt_objective(config: TrainConfig) -> Objective:
    """The losses of a promptable model, for prompts that are drawn for each image and that it may have to correct.

    Rounds of correction are answered without gradients; what is learnt from is the answer to all clicks of a prompt.
    """
    criterion = PromptCriterion(config.loss)

    def objective(model: nn.Module, batch: Batch) -> PromptLosses:
        asked = [
            draw_prompts(targets, config.prompts, generator(config.seed, position, Purpose.PROMPTS))
            for targets, position in zip(batch.targets, batch.positions, strict=True)
        ]

        def ask(answer: Answer) -> Prompts:
            # The model calls this when it has seen the images: they are seen once for all rounds.
            asked[:] = corrected(asked, batch, answer, config)
            return batch_of(asked)

        output = model(batch.images_BCHW, ask, sizes_hw=batch.sizes_hw, deep_supervision=True)
        targets = [targets_of(*of_image, config.prompts) for of_image in zip(asked, batch.targets, strict=True)]
        return criterion.at_points(output, targets, loss_points(config.loss, config.seed, batch))

    return objective


@torch.no_grad()
def corrected(asked: Sequence[Asked], batch: Batch, answer: Answer, config: TrainConfig) -> list[Asked]:
    """Prompts with the clicks that correct the model's answers, round by round.

    Args:
        asked: The first prompts of each image.
        batch: The images and their masks.
        answer: The model, which has seen the images.
        config: How many rounds, and the seed of what is drawn in them.
    """
    drawn = [generator(config.seed, position, Purpose.CORRECTIONS) for position in batch.positions]
    with _casts_of_its_own(batch.images_BCHW.device.type):
        for first in corrected_from(config.prompts):
            output = answer(batch_of(asked, first))
            asked = [
                with_corrections(of_image, targets, best_masks(output, image), size_hw, rng, first=first)
                for image, (of_image, targets, size_hw, rng) in enumerate(
                    zip(asked, batch.targets, batch.sizes_hw, drawn, strict=True)
                )
            ]
    return list(asked)


def best_masks(output: PromptOutput, image: int) -> Tensor:
    """The mask of each prompt that the model thinks best, which is what a user is shown first.

    Args:
        output: What the model predicts.
        image: Which image of the batch.

    Returns:
        Float (P, h, w): above 0 where the mask is.
    """
    best_P = output.ious_LBPQ[-1, image].argmax(dim=1)
    embeddings_PC = output.embeddings_LBPQC[-1, image, torch.arange(len(best_P), device=best_P.device), best_P]
    features_Chw = output.features_BChw[image]
    return (embeddings_PC @ features_Chw.flatten(1)).view(-1, *features_Chw.shape[1:])


def loss_points(config: LossConfig, seed: int, batch: Batch) -> list[LossPoints]:
    """Where the masks of each image of a batch are compared."""
    drawn = (int(generator(seed, position, Purpose.POINTS).integers(2**63)) for position in batch.positions)
    return [draw_points(config, torch.Generator().manual_seed(number)) for number in drawn]


@contextmanager
def _casts_of_its_own(device: str) -> Iterator[None]:
    # Before torch 2.10, autocast uses weights that it has cast without gradients again where there should be some.
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    with torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=False):
        yield

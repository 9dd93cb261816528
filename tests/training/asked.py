"""A small promptable model, and what it is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from dico.config_loading import to_plain
from tests.training.mask2former import shaken
from training.config import InferenceConfig, PromptableConfig, TinyConfig, TrainConfig
from training.models.promptable import PromptableModel
from training.prompts import NEGATIVE, PADDING, POINT, POSITIVE, Prompts

SMALL = PromptableConfig(
    backbone="tiny",
    tiny=TinyConfig(widths=(8, 16, 16, 24)),
    width=32,
    heads=4,
    encoder_layers=1,
    encoder_feedforward=48,
    decoder_layers=3,
    decoder_feedforward=48,
)


def small_model(config: PromptableConfig = SMALL) -> PromptableModel:
    """A model whose weights all count: a fresh one looks in the same directions from everywhere, and at no points."""
    torch.manual_seed(0)
    model = shaken(PromptableModel(config)).eval()
    torch.nn.init.xavier_uniform_(model.prompt_encoder.pooled_points.weight)
    return model


def decisive_model() -> PromptableModel:
    """A small model whose masks depend on the click, which those of other random weights hardly do."""
    model = small_model()
    with torch.no_grad():
        for head in (model.prompt_decoder.mask_embedder, model.prompt_decoder.iou_predictor):
            for parameter in head.parameters():
                parameter *= 2
    return model


INFERENCE = InferenceConfig(short_side=64, long_side=96)


def write_promptable(path: Path, config: TrainConfig | None = None, model: PromptableModel | None = None) -> Path:
    """A checkpoint of a model, the small one unless it is given, as training writes it."""
    model = model or small_model()
    config = config or TrainConfig(inference=INFERENCE)
    config = replace(config, task="promptable", promptable=model.config)
    torch.save({"model": model.state_dict(), "config": to_plain(config)}, path)
    return path


def clicks(prompts: int, *, images: int = 1, seed: int = 0) -> Prompts:
    """One click each, at random places."""
    rng = torch.Generator().manual_seed(seed)
    points_BPK2 = torch.rand(images, prompts, 1, 2, generator=rng)
    boxes_BP4 = torch.cat((points_BPK2[:, :, 0], torch.full((images, prompts, 2), 0.05)), dim=-1)
    kind_BP = torch.full((images, prompts), POINT)
    return Prompts(boxes_BP4, kind_BP, points_BPK2, torch.full((images, prompts, 1), POSITIVE))


def mixed(prompts: int, *, images: int = 1, points: int = 4, seed: int = 0) -> Prompts:
    """Clicks and boxes, each with some further points of both labels, some places padded."""
    rng = torch.Generator().manual_seed(seed)
    each = (images, prompts)
    centres, sizes = torch.rand(*each, 2, generator=rng), 0.05 + 0.4 * torch.rand(*each, 2, generator=rng)
    return Prompts(
        torch.cat((centres, sizes), dim=-1),
        torch.randint(0, 2, each, generator=rng),
        torch.rand(*each, points, 2, generator=rng),
        torch.tensor([PADDING, NEGATIVE, POSITIVE])[torch.randint(0, 3, (*each, points), generator=rng)],
    )

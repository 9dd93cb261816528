"""transformers' Mask2Former with random weights, and our configuration of the same network: the oracle of tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.config import ModelConfig, ResNetConfig, SwinConfig

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SMALL = ModelConfig(
    backbone="resnet50",
    resnet=ResNetConfig(stem=16, widths=(32, 48, 64, 96), depths=(1, 2, 1, 1)),
    queries=7,
    width=64,
    encoder_layers=2,
    encoder_feedforward=96,
    decoder_layers=4,
    decoder_feedforward=80,
)
SMALL_SWIN = replace(
    SMALL,
    backbone="swin_t",
    resnet=ResNetConfig(),
    swin=SwinConfig(width=24, depths=(1, 2, 2, 1), heads=(2, 2, 4, 4), window=3),
)
SMALL_CONFIGS = {"resnet": SMALL, "swin": SMALL_SWIN}


def oracle(config: ModelConfig, seed: int = 0) -> Any:
    """transformers' model of a configuration in evaluation mode, every weight and statistic away from its default."""
    transformers = __import__("transformers")
    if config.backbone == "resnet50":
        backbone = transformers.ResNetConfig(
            embedding_size=config.resnet.stem,
            hidden_sizes=list(config.resnet.widths),
            depths=list(config.resnet.depths),
            out_features=STAGES,
        )
    else:
        backbone = transformers.SwinConfig(
            embed_dim=config.swin.width,
            depths=list(config.swin.depths),
            num_heads=list(config.swin.heads),
            window_size=config.swin.window,
            mlp_ratio=config.swin.mlp_ratio,
            drop_path_rate=config.swin.drop_path,
            out_features=STAGES,
        )
    torch.manual_seed(seed)
    model = transformers.Mask2FormerForUniversalSegmentation(
        transformers.Mask2FormerConfig(
            backbone_config=backbone,
            num_labels=config.classes,
            num_queries=config.queries,
            feature_size=config.width,
            mask_feature_size=config.width,
            hidden_dim=config.width,
            num_attention_heads=config.heads,
            encoder_layers=config.encoder_layers,
            encoder_feedforward_dim=config.encoder_feedforward,
            decoder_layers=config.decoder_layers + 1,
            dim_feedforward=config.decoder_feedforward,
        )
    )
    return shaken(model).eval()


def shaken(model: nn.Module) -> nn.Module:
    """The model with all weights moved, so that none is a zero or a one that hides a mistake."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return model


def saved(model: Any, folder: Path) -> Path:
    """The folder, with the model in it as Hugging Face's files have it."""
    model.save_pretrained(folder)
    return folder

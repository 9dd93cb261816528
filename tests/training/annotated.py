"""A small model, and drawn images with annotations, for tests of what measures one with the other."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image
import torch

from tests.conftest import bright_labeler, draw
from training.config import ModelConfig
from training.models.whole_image import WholeImageModel

TINY = ModelConfig(backbone="tiny", width=32, queries=12, encoder_layers=1, decoder_layers=2)
SIZES_HW = ((48, 64), (60, 40), (33, 70), (50, 50), (48, 64))


def tiny_model(seed: int = 0) -> WholeImageModel:
    torch.manual_seed(seed)
    return WholeImageModel(TINY).eval()


def write_checkpoint(path: Path, *, seed: int = 0, **others: object) -> Path:
    torch.save({"model": tiny_model(seed).state_dict(), **others}, path)
    return path


def write_annotated(folder: Path, count: int = 5, *, images: str = "images") -> Path:
    """Writes drawn images, and annotations that a simple labeler makes of them; gives the json's path."""
    (folder / images).mkdir(parents=True)
    content: dict[str, list[object]] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}]}
    for index in range(count):
        height, width = SIZES_HW[index % len(SIZES_HW)]
        image = draw(index, (height, width))
        name = f"{index:02d}.png"
        PIL.Image.fromarray(image).save(folder / images / name)
        # Ids do not follow the names.
        image_id = 100 - index
        content["images"].append({"id": image_id, "file_name": name, "height": height, "width": width})
        first = 1 + len(content["annotations"])
        content["annotations"] += bright_labeler(image).to_coco(image_id=image_id, first_id=first)
    path = folder / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path

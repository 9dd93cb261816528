"""The whole way on four photographs: labels, a store, training from it, and a model that finds those labels again."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import PIL.Image
import pytest
import skimage

from dico.cli import main as dico
from tests.conftest import REPOSITORY

NAMES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg")
SIDE = 160


@pytest.mark.slow
def test_four_photographs_are_learned_by_heart(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name in NAMES:
        image = PIL.Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        image.save(photographs / f"{Path(name).stem}.png")
    labels, annotations, output = tmp_path / "labels", tmp_path / "annotations.json", tmp_path / "out"
    few = ["select.max_masks=15", "select.min_area_px=250"]
    assert dico(["label", str(photographs), str(labels), "--quiet", *few]) == 0
    assert dico(["export", str(labels), "--format", "coco", "--output", str(annotations)]) == 0
    train_net = runpy.run_path(str(REPOSITORY / "tools" / "train_net.py"))["main"]
    config = REPOSITORY / "configs" / "training" / "whole_image_tiny.yaml"
    settings = [
        f"data.train=[{labels}]", f"output={output}", f"data.image_size={SIDE}", "data.scale=[1, 1]", "data.flip=0",
        "data.workers=0", "optim.batch_size=4", "optim.steps=300", "optim.lr=2e-3", "model.queries=40",
        f"inference.short_side={SIDE}", f"inference.long_side={SIDE}",
    ]  # fmt: skip
    assert train_net(["--config-file", str(config), *settings]) == 0
    evaluate = runpy.run_path(str(REPOSITORY / "tools" / "evaluate.py"))["main"]
    described = tmp_path / "photographs.yaml"
    described.write_text(f"{{format: coco, annotations: {annotations}, images: {photographs}}}")
    found = tmp_path / "evaluation"
    model = str(output / "model_final.pth")
    assert evaluate(["--datasets", str(described), "--model", model, "--output", str(found)]) == 0
    (report,) = json.loads((found / "report.json").read_text(encoding="utf-8"))["sets"]
    assert report["figures"]["budgets"][1]["ar"] > 60

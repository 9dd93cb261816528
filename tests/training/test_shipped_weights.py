"""The weights that come with the project: small, readable, told of on their card, and they have learnt."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dico.image import Image
from training.data.catalog import open_source
from training.evaluation.point_iou import PointEvaluator
from training.prompt_predictor import PromptPredictor
from training.trained import load_trained

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
SHIPPED = WEIGHTS / "promptable_tiny.safetensors"


@pytest.fixture(scope="module")
def shipped() -> PromptPredictor:
    return PromptPredictor.from_checkpoint(SHIPPED)


def scene() -> tuple[Image, dict[str, np.ndarray]]:
    """A bright disc with a dark one in it, beside a box, on a plain ground."""
    y_HW, x_HW = np.mgrid[:240, :320]
    wholes = {
        "disc": (x_HW - 110) ** 2 + (y_HW - 120) ** 2 < 70**2,
        "pupil": (x_HW - 110) ** 2 + (y_HW - 120) ** 2 < 25**2,
        "box": (abs(x_HW - 250) < 35) & (abs(y_HW - 130) < 60),
    }
    image = np.full((240, 320, 3), (90, 120, 90), dtype=np.uint8)
    for name, colour in (("disc", (220, 210, 60)), ("pupil", (60, 30, 30)), ("box", (60, 70, 200))):
        image[wholes[name]] = colour
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), wholes


def test_the_card_tells_of_the_file_that_is_there():
    card = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert SHIPPED.name in card and hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card
    assert SHIPPED.stat().st_size < 25e6


def test_a_click_finds_what_it_is_on(shipped):
    image, wholes = scene()
    shipped.set_image(image)
    for name, click in (("disc", [110, 75]), ("pupil", [110, 120]), ("box", [250, 130])):
        masks, _ = shipped.predict(points=[click])
        ious = [(mask & wholes[name]).sum() / (mask | wholes[name]).sum() for mask in masks]
        assert len(masks) == 6 and max(ious) > 0.8, (name, np.round(ious, 2))


def test_all_masks_are_found_with_its_own_settings():
    image, wholes = scene()
    masks = load_trained(SHIPPED).predict(image).decode()
    for name in ("disc", "box"):
        assert max((mask & wholes[name]).sum() / (mask | wholes[name]).sum() for mask in masks) > 0.8, name


def test_photographs_with_human_masks(dev_data, shipped):
    evaluator = PointEvaluator(open_source(str(dev_data / "smoke")), most_clicks=1)
    report = evaluator.report(evaluator.predictions(shipped))
    assert report.oracle_iou.mean > 40 and report.max_iou.mean > 10

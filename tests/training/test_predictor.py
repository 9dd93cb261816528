from __future__ import annotations

import numpy as np
import pytest
import torch

from dico.image import resize_image
from dico.stopwatch import stopwatch
from tests.conftest import draw
from training.config import InferenceConfig, ModelConfig
from training.models.whole_image import WholeImageModel
from training.postprocess.frame import Frame
from training.postprocess.masks import masks_of_output
from training.predictor import Predictor, network_size

SMALL = InferenceConfig(short_side=64, long_side=120)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return WholeImageModel(ModelConfig(backbone="tiny", width=32, queries=12, encoder_layers=1, decoder_layers=2))


@pytest.mark.parametrize("size_hw", [(48, 64), (90, 40), (20, 20), (300, 31), (1, 1)])
def test_masks_are_of_the_image_s_own_size(model, size_hw):
    assert Predictor(model, SMALL)(draw(0, size_hw)).size_hw == size_hw


def test_it_is_the_network_and_what_follows_it(model):
    image = draw(3, (50, 70))
    resized = resize_image(image, (64, 90))
    padded = np.zeros((64, 96, 3), dtype=np.uint8)
    padded[:, :90] = resized
    with torch.no_grad():
        output = model.eval()(torch.from_numpy(padded).permute(2, 0, 1)[None], sizes_hw=[(64, 90)])
    expected = masks_of_output(output, Frame((64, 96), (64, 90), (50, 70)), SMALL)
    assert len(expected) and Predictor(model, SMALL)(image) == expected


def test_what_the_network_sees_lies_within_both_limits():
    assert network_size((480, 640), SMALL) == (64, 85)
    assert network_size((640, 480), SMALL) == (85, 64)
    assert network_size((100, 1000), SMALL) == (12, 120)
    assert network_size((1, 5000), SMALL) == (1, 120)


def test_a_model_in_training_goes_on_training(model):
    model.train()
    predictor = Predictor(model, SMALL)
    first = predictor(draw(1))
    assert model.training
    model.eval()
    assert predictor(draw(1)) == first and not model.training


def test_lower_precision(model):
    full, low = (Predictor(model, InferenceConfig(64, 120, precision=p))(draw(2)) for p in ("float32", "bfloat16"))
    assert len(low) > 0 and abs(float(low.score.mean()) - float(full.score.mean())) < 0.1


def test_stages_are_timed(model):
    with stopwatch() as seconds:
        Predictor(model, SMALL)(draw(0))
    assert list(seconds) == ["network", "masks"]

"""Model and criterion together: a few steps on a few images are enough to find what is in them."""

import numpy as np
import torch

from tests.reference.dense import dense_masks
from training.config import LossConfig, ModelConfig
from training.models.criterion import Criterion
from training.models.whole_image import WholeImageModel
from training.samples import Sample, collate

SIDE = 64
MODEL = ModelConfig(
    backbone="tiny", width=64, heads=4, queries=12, encoder_layers=1, encoder_feedforward=64, decoder_layers=3,
    decoder_feedforward=64,
)  # fmt: skip


def scene(seed):
    """Three boxes, each of one colour, the later over the earlier, on a dark noisy ground."""
    rng = np.random.default_rng(seed)
    image_3HW = rng.integers(40, 90, (3, 1, 1)) + rng.normal(0, 4, (3, SIDE, SIDE))
    masks_NHW = np.zeros((3, SIDE, SIDE), dtype=bool)
    for n in range(3):
        y, x = rng.integers(0, SIDE * 2 // 3, 2)
        tall, wide = rng.integers(SIDE // 4, SIDE // 2, 2)
        masks_NHW[:, y : y + tall, x : x + wide] = False
        masks_NHW[n, y : y + tall, x : x + wide] = True
        image_3HW[:, masks_NHW[n]] = rng.integers(90, 255, (3, 1))
    image = torch.from_numpy(image_3HW.clip(0, 255).astype(np.uint8))
    return Sample(str(seed), image, torch.from_numpy(masks_NHW))


def best_ious(output, batch):
    """The IoU of each target with the query that fits it best, over the cells of the masks."""
    logits_BQhw = dense_masks(output)[-1].detach()
    for predicted_Qhw, targets in zip(logits_BQhw > 0, batch.targets, strict=True):
        for target_hw in targets.masks_NHW[:, 2::4, 2::4]:
            overlap_Q = (predicted_Qhw & target_hw).sum(dim=(1, 2))
            yield (overlap_Q / (predicted_Qhw | target_hw).sum(dim=(1, 2))).max().item()


def test_four_images_are_learned():
    torch.manual_seed(0)
    model, criterion, batch = (
        WholeImageModel(MODEL),
        Criterion(LossConfig(points=512)),
        collate([*map(scene, range(4))]),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    points = torch.Generator().manual_seed(0)
    totals = []
    for _ in range(40):
        losses = criterion(model(batch.images_BCHW, deep_supervision=True), batch.targets, points)
        optimiser.zero_grad()
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        totals.append(losses.total.item())
    assert np.mean(totals[-5:]) < totals[0] / 5
    ious = list(best_ious(model(batch.images_BCHW), batch))
    assert len(ious) == 12 and np.mean(ious) > 0.8

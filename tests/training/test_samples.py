import pytest
import torch

from training.samples import Sample, Targets, collate


def sample(size_hw, masks=2, value=7):
    masks_NHW = torch.ones(masks, *size_hw, dtype=torch.bool)
    return Sample(f"{size_hw}", torch.full((3, *size_hw), value, dtype=torch.uint8), masks_NHW)


def test_collate_pads_at_the_right_and_at_the_bottom():
    batch = collate([sample((5, 40)), sample((33, 8), masks=0)])
    assert batch.images_BCHW.shape == (2, 3, 64, 64) and batch.images_BCHW.dtype == torch.uint8
    assert batch.sizes_hw == ((5, 40), (33, 8)) and batch.keys == ("(5, 40)", "(33, 8)") and len(batch) == 2
    assert batch.images_BCHW[0, :, :5, :40].eq(7).all() and batch.images_BCHW[0].sum() == 7 * 3 * 5 * 40
    assert [len(targets) for targets in batch.targets] == [2, 0]
    assert batch.targets[0].masks_NHW[:, :5, :40].all() and batch.targets[0].masks_NHW.sum() == 2 * 5 * 40
    assert batch.targets[1].masks_NHW.shape == (0, 64, 64)


def test_a_frame_that_fits_is_not_padded():
    assert collate([sample((32, 64))]).images_BCHW.shape == (1, 3, 32, 64)
    assert collate([sample((3, 5))], divisor=1).images_BCHW.shape == (1, 3, 3, 5)


def test_a_batch_moves_with_its_targets():
    moved = collate([sample((5, 40))]).to("meta")
    assert moved.images_BCHW.is_meta and moved.targets[0].masks_NHW.is_meta and moved.sizes_hw == ((5, 40),)


def test_refusals():
    image, masks = torch.zeros(3, 4, 6, dtype=torch.uint8), torch.zeros(1, 4, 6, dtype=torch.bool)
    with pytest.raises(TypeError, match=r"image_CHW must be uint8, got torch\.float32"):
        Sample("a", image.float(), masks)
    with pytest.raises(ValueError, match=r"image_CHW must have the axes \(3, H, W\), got shape \(4, 6, 3\)"):
        Sample("a", image.permute(1, 2, 0), masks)
    with pytest.raises(ValueError, match=r"masks_NHW must be of the size of the image \(4, 6\), got \(6, 4\)"):
        Sample("a", image, masks.transpose(1, 2))
    with pytest.raises(TypeError, match=r"masks_NHW must be bool or uint8, got torch\.float32"):
        Targets(masks.float())
    with pytest.raises(ValueError, match=r"masks_NHW must have three axes \(N, H, W\), got shape \(4, 6\)"):
        Targets(masks[0])
    with pytest.raises(ValueError, match="samples must be at least one"):
        collate([])

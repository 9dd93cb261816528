"""Prompts that are drawn for masks: where they lie, which masks they may mean, and that only the generator decides."""

from collections import Counter

import numpy as np
import pytest
import torch

from tests.reference import prompts as reference
from tests.training.drawn_targets import boxes
from training.config import PromptConfig
from training.data.prompts import SAME_BOX, batch_of, draw_prompts, nth_pixels, targets_of
from training.data.randomness import Purpose, generator
from training.prompts import BOX, PADDING, POINT, POSITIVE
from training.samples import Targets

SIZE = (32, 48)
CLICKS = PromptConfig(per_image=40, box_share=0.0)
BOXES = PromptConfig(per_image=40, box_share=1.0)


def draw(masks_NHW, config=CLICKS, seed=0):
    return draw_prompts(Targets(masks_NHW), config, np.random.default_rng(seed))


def pixels(asked, size_hw=SIZE):
    """(x, y) of the first point of every prompt, which must be the centre of a pixel."""
    shares_P2 = asked.points_PK2[:, 0].double() * torch.tensor([size_hw[1], size_hw[0]]) - 0.5
    np.testing.assert_allclose(shares_P2, shares_P2.round(), atol=1e-4)
    return shares_P2.round().long().tolist()


def nested():
    """Four masks in one another, the first the whole frame, and one far from three of them."""
    masks_NHW = torch.zeros(5, *SIZE, dtype=torch.bool)
    for n in range(4):
        masks_NHW[n, 4 * n : 32 - 4 * n, 4 * n : 48 - 4 * n] = True
    masks_NHW[4, :3, :3] = True
    return masks_NHW


def test_a_click_lies_in_its_mask_and_means_every_mask_that_contains_it():
    masks_NHW = boxes(7, SIZE)
    asked = draw(masks_NHW)
    assert asked.kind_P.tolist() == [POINT] * 40 and asked.labels_PK.tolist() == [[POSITIVE]] * 40
    for (x, y), fits_N, target_T in zip(pixels(asked), asked.fits_PN, asked.targets(7), strict=True):
        containing = {n for n, mask_HW in enumerate(masks_NHW.tolist()) if mask_HW[y][x]}
        assert containing and set(fits_N.nonzero().flatten().tolist()) == containing
        assert Counter(target_T.tolist()) == Counter([*containing, *[PADDING] * (7 - len(containing))])


def test_masks_take_turns():
    masks_NHW = torch.zeros(3, *SIZE, dtype=torch.bool)
    for n in range(3):
        masks_NHW[n, 10 * n : 10 * n + 8] = True
    counts = Counter(draw(masks_NHW).targets(6)[:, 0].tolist())
    assert sorted(counts.values()) == [13, 13, 14]
    many = torch.cat([masks_NHW] * 20)
    assert len(draw(many).kind_P) == 40


def test_every_pixel_of_a_mask_is_as_likely():
    masks_NHW = torch.zeros(1, *SIZE, dtype=torch.uint8)
    masks_NHW[0, 5, 7:9] = masks_NHW[0, 20:22, 47] = masks_NHW[0, 31, 0] = 1
    drawn = Counter(map(tuple, pixels(draw(masks_NHW, PromptConfig(per_image=5000, box_share=0.0)))))
    assert set(drawn) == {(7, 5), (8, 5), (47, 20), (47, 21), (0, 31)}
    assert all(900 < count < 1100 for count in drawn.values())


def test_the_anchor_of_a_click_is_a_small_square_around_it():
    asked = draw(boxes(3, SIZE), PromptConfig(per_image=40, box_share=0.0, click_px=6, click_jitter=0.0))
    torch.testing.assert_close(asked.boxes_P4[:, :2], asked.points_PK2[:, 0])
    torch.testing.assert_close(asked.boxes_P4[:, 2:], torch.tensor([[6 / 48, 6 / 32]]).expand(40, -1))
    moved = draw(boxes(3, SIZE), CLICKS).boxes_P4 - asked.boxes_P4
    assert 0 < moved[:, :2].abs().max() < 0.004 * 6 / 32


def test_a_box_is_its_masks_and_means_masks_with_the_same_box():
    masks_NHW = torch.zeros(4, *SIZE, dtype=torch.bool)
    masks_NHW[0, 4:24, 8:40] = True
    masks_NHW[1, 4:24, 8:40] = torch.eye(20, 32, dtype=torch.bool) | torch.eye(20, 32, dtype=torch.bool).flip(1)
    masks_NHW[1, 23, 8:40] = True
    masks_NHW[2, 4:24, 8:36] = True  # IoU of 28 / 32
    masks_NHW[3, 4:24, 8:32] = True  # IoU of 24 / 32 with the first, 24 / 28 with the one before
    asked = draw(masks_NHW, PromptConfig(per_image=40, box_share=1.0, jitter=0.0))
    assert asked.kind_P.tolist() == [BOX] * 40 and asked.labels_PK.tolist() == [[PADDING]] * 40
    meant_by_width = {32: {0, 1, 2}, 28: {0, 1, 2, 3}, 24: {2, 3}}
    seen = set()
    for box_4, fits_N in zip(asked.boxes_P4, asked.fits_PN, strict=True):
        left, top, right, bottom = (round(v) for v in (torch.tensor(reference.corners(box_4)) * 48).tolist())
        assert (left, top * 2 // 3, bottom * 2 // 3) == (8, 4, 24)
        assert set(fits_N.nonzero().flatten().tolist()) == meant_by_width[right - left]
        seen.add(right - left)
    assert seen == set(meant_by_width) and SAME_BOX == 0.8


def test_boxes_are_jittered():
    masks_NHW = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks_NHW[0, 8:24, 12:36] = True
    boxes_P4 = draw(masks_NHW, PromptConfig(per_image=400, box_share=1.0, jitter=0.4)).boxes_P4
    moved = (boxes_P4 - torch.tensor([0.5, 0.5, 0.5, 0.5])) / 0.25
    assert 0.38 < moved.abs().max() < 0.4 and (moved.mean(dim=0).abs() < 0.05).all()
    masks_NHW[0] = True
    boxes_P4 = draw(masks_NHW, PromptConfig(per_image=400, box_share=1.0, jitter=0.4)).boxes_P4
    assert boxes_P4.min() >= 0 and boxes_P4.max() == 1


def test_of_more_than_six_masks_six_are_drawn():
    masks_NHW = torch.ones(9, *SIZE, dtype=torch.bool)
    target_PT = draw(masks_NHW, PromptConfig(per_image=900, box_share=0.0)).targets(6)
    assert target_PT.shape == (900, 6) and all(len(set(target_T)) == 6 for target_T in target_PT.tolist())
    drawn = Counter(target_PT.flatten().tolist())
    assert set(drawn) == set(range(9)) and all(500 < count < 700 for count in drawn.values())


def test_an_image_without_masks_is_asked_and_means_nothing():
    for config in (CLICKS, BOXES):
        asked = draw(torch.zeros(0, *SIZE, dtype=torch.bool), config)
        assert asked.kind_P.tolist() == [POINT] * 40 and asked.labels_PK.tolist() == [[POSITIVE]] * 40
        assert asked.points_PK2.eq(0.5).all() and asked.targets(6).shape == (40, 0)


def test_an_empty_mask_is_meant_by_nothing():
    masks_NHW = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks_NHW[0, 4:9, 4:9] = True
    asked = draw(masks_NHW, PromptConfig(per_image=40, box_share=0.5))
    assert asked.fits_PN[:, 0].sum() >= 20 and not asked.fits_PN[:, 1].any()


def test_seed_and_position_decide_and_nothing_else():
    config, targets = PromptConfig(per_image=30), Targets(nested())

    def drawn(seed, position):
        return draw_prompts(targets, config, generator(seed, position, Purpose.PROMPTS))

    first, again = drawn(3, 5), drawn(3, 5)
    assert all(torch.equal(value, vars(again)[name]) for name, value in vars(first).items())
    for other in (drawn(3, 6), drawn(4, 5)):
        assert not torch.equal(first.boxes_P4, other.boxes_P4)
    assert 0 < (first.kind_P == BOX).sum() < 30


def test_prompts_of_images_make_a_batch():
    asked = [draw(nested(), PromptConfig(per_image=7)), draw(boxes(0, SIZE), PromptConfig(per_image=7))]
    prompts = batch_of(asked)
    assert prompts.points_BPK2.shape == (2, 7, 1, 2) and torch.equal(prompts.boxes_BP4[0], asked[0].boxes_P4)
    later = batch_of(asked, 5)
    assert torch.equal(later.kind_BP, prompts.kind_BP[:, 5:]) and torch.equal(later.boxes_BP4, prompts.boxes_BP4[:, 5:])
    targets = targets_of(asked[0], Targets(nested()), PromptConfig(targets=2))
    assert targets.target_PT.shape == (7, 2) and torch.equal(targets.target_PT, asked[0].targets(2))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_pixels_are_counted_along_rows(dtype):
    mask_HW = torch.from_numpy(np.random.default_rng(0).random((6, 9)) < 0.3)
    expected = reference.pixels_of(mask_HW.numpy())
    nth_N = torch.arange(2 * len(expected))
    x_N, y_N, area_N = nth_pixels(mask_HW.expand(len(nth_N), -1, -1).to(dtype), nth_N)
    assert list(zip(x_N.tolist(), y_N.tolist(), strict=True)) == expected * 2
    assert set(area_N.tolist()) == {len(expected)}

"""Clicks that correct: they lie in the error, say what is wrong, and leave only masks that agree with them."""

from collections import Counter

import numpy as np
import pytest
import torch

from tests.training.drawn_targets import boxes
from training.config import PromptConfig
from training.data.corrections import corrected_from, grid_pixels, with_corrections
from training.data.prompts import draw_prompts
from training.prompts import NEGATIVE, PADDING, POSITIVE
from training.samples import Targets

SIZE = (32, 48)
CONFIG = PromptConfig(per_image=20, box_share=0.3)


def start(masks_NHW, config=CONFIG, seed=0):
    return draw_prompts(Targets(masks_NHW), config, np.random.default_rng(seed))


def correct(asked, masks_NHW, logits_Phw, *, size_hw=SIZE, seed=0, first=0):
    rng = np.random.default_rng(seed)
    return with_corrections(asked, Targets(masks_NHW), logits_Phw, size_hw, rng, first=first)


def full_size(masks_PHW):
    """Answers to the prompts, a cell for every pixel."""
    return torch.where(masks_PHW.bool(), 5.0, -5.0)


def pixel(point_2):
    return tuple(int(share * length) for share, length in zip(point_2.tolist(), (SIZE[1], SIZE[0]), strict=True))


def test_a_click_lies_where_answer_and_meant_mask_differ_and_says_which():
    masks_NHW = boxes(6, SIZE)
    asked = start(masks_NHW)
    meant_P = asked.targets(1)[:, 0]
    answers_PHW = boxes(20, SIZE, seed=7)
    corrected = correct(asked, masks_NHW, full_size(answers_PHW))
    assert corrected.points_PK2.shape == (20, 2, 2)
    assert torch.equal(corrected.points_PK2[:, :1], asked.points_PK2)
    assert Counter(corrected.labels_PK[:, 1].tolist()).keys() == {POSITIVE, NEGATIVE}
    for p, (meant, label) in enumerate(zip(meant_P.tolist(), corrected.labels_PK[:, 1].tolist(), strict=True)):
        x, y = pixel(corrected.points_PK2[p, 1])
        assert masks_NHW[meant, y, x] == (label == POSITIVE)
        assert answers_PHW[p, y, x] == (label == NEGATIVE)


def test_targets_agree_with_every_click_and_the_meant_mask_stays():
    masks_NHW = boxes(8, SIZE)
    asked = start(masks_NHW, PromptConfig(per_image=50, box_share=0.0))
    meant_P = asked.targets(1)[:, 0]
    for seed in (7, 8, 9):
        asked = correct(asked, masks_NHW, full_size(boxes(50, SIZE, seed=seed)), seed=seed)
    assert torch.equal(asked.targets(1)[:, 0], meant_P)
    for points_K2, labels_K, fits_N in zip(asked.points_PK2, asked.labels_PK, asked.fits_PN, strict=True):
        clicks = [(pixel(point), label) for point, label in zip(points_K2, labels_K.tolist(), strict=True)]
        for n, mask_HW in enumerate(masks_NHW):
            agrees = all(mask_HW[y, x] == (label == POSITIVE) for (x, y), label in clicks)
            assert fits_N[n] == agrees


def test_a_corrected_prompt_asks_for_what_it_means_as_often_as_it_is_answered():
    masks_NHW = boxes(8, SIZE)
    asked = start(masks_NHW, PromptConfig(per_image=50, box_share=0.0))
    asked = correct(asked, masks_NHW, full_size(boxes(50, SIZE, seed=7))[25:], first=25)
    counts_P = asked.fits_PN.sum(dim=1)
    assert counts_P[25:].min() == 1 and counts_P[25:].max() > 2
    for p, (fits_N, target_T) in enumerate(zip(asked.fits_PN, asked.targets(6).tolist(), strict=True)):
        fitting = fits_N.nonzero().flatten().tolist()
        often = Counter(target_T)
        if p < 25:
            assert often == Counter([*fitting, *[PADDING] * (6 - len(fitting))])
        else:
            assert set(often) == set(fitting) and max(often.values()) - min(often.values()) <= 1


def test_every_wrong_pixel_is_as_likely():
    masks_NHW = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks_NHW[0, 10, 10:14] = True
    answer_HW = torch.zeros(SIZE, dtype=torch.bool)
    answer_HW[10, 12:16] = True
    asked = start(masks_NHW, PromptConfig(per_image=4000, box_share=0.0))
    corrected = correct(asked, masks_NHW, full_size(answer_HW.expand(4000, -1, -1)))
    clicks = zip(map(pixel, corrected.points_PK2[:, 1]), corrected.labels_PK[:, 1].tolist(), strict=True)
    counts = Counter(clicks)
    assert set(counts) == {((10, 10), 1), ((11, 10), 1), ((14, 10), 0), ((15, 10), 0)}
    assert all(900 < count < 1100 for count in counts.values())


def test_a_right_answer_is_not_corrected():
    masks_NHW = boxes(6, SIZE)
    asked = start(masks_NHW)
    corrected = correct(asked, masks_NHW, full_size(masks_NHW[asked.targets(1)[:, 0]]))
    assert corrected.labels_PK[:, 1].eq(PADDING).all() and corrected.points_PK2[:, 1].eq(0).all()
    assert torch.equal(corrected.fits_PN, asked.fits_PN)


def test_nothing_meant_is_nothing_to_correct():
    nothing, empty = torch.zeros(0, *SIZE, dtype=torch.bool), torch.zeros(1, *SIZE, dtype=torch.bool)
    for masks_NHW in (nothing, empty):
        corrected = correct(start(masks_NHW), masks_NHW, full_size(boxes(20, SIZE)))
        assert corrected.labels_PK[:, 1].eq(PADDING).all() and corrected.labels_PK.shape == (20, 2)


def test_the_padding_is_not_clicked():
    masks_NHW = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks_NHW[0, 5:9, 5:9] = True
    everywhere = full_size(torch.ones(300, *SIZE))
    asked = start(masks_NHW, PromptConfig(per_image=300))
    corrected = correct(asked, masks_NHW, everywhere, size_hw=(12, 10))
    assert corrected.labels_PK[:, 1].eq(NEGATIVE).all()
    x_P, y_P = corrected.points_PK2[:, 1].unbind(1)
    assert x_P.max() < 10 / 48 and y_P.max() < 12 / 32


def test_prompts_before_the_first_stay_as_they_are():
    masks_NHW, answers = boxes(6, SIZE), full_size(boxes(20, SIZE, seed=7))
    asked = start(masks_NHW)
    corrected = correct(asked, masks_NHW, answers[15:], first=15)
    assert corrected.labels_PK[:15, 1].eq(PADDING).all() and corrected.labels_PK[15:, 1].ne(PADDING).all()
    assert torch.equal(corrected.fits_PN[:15], asked.fits_PN[:15])
    everything = correct(asked, masks_NHW, answers)
    assert torch.equal(corrected.points_PK2[15:], everything.points_PK2[15:])
    assert torch.equal(correct(asked, masks_NHW, answers[:0], first=20).fits_PN, asked.fits_PN)


def test_coarse_answers_are_compared_at_pixels_of_their_cells():
    masks_NHW = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks_NHW[0, 8:16, 16:24] = True  # two by two cells of four pixels
    asked = start(masks_NHW, PromptConfig(per_image=200, box_share=0.0))
    logits_hw = torch.full((8, 12), -5.0)
    logits_hw[2:4, 4] = 5.0  # the left half
    clicked = set()
    for seed in range(30):
        corrected = correct(asked, masks_NHW, logits_hw.expand(200, -1, -1), seed=seed)
        assert corrected.labels_PK[:, 1].eq(POSITIVE).all()
        clicked |= set(map(pixel, corrected.points_PK2[:, 1]))
    assert clicked <= {(x, y) for x in range(20, 24) for y in range(8, 16)} and len(clicked) > 16


def test_only_the_generator_decides():
    masks_NHW, answers = boxes(6, SIZE), full_size(boxes(20, SIZE, seed=7))
    asked = start(masks_NHW)
    first, again, other = (correct(asked, masks_NHW, answers, seed=seed).points_PK2 for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "rounds"),
    [
        ({"per_image": 60, "corrected_share": 0.5, "corrections": 3}, [30, 40, 50]),
        ({"per_image": 8, "corrected_share": 0.5, "corrections": 1}, [4]),
        ({"per_image": 3, "corrected_share": 1.0, "corrections": 2}, [0, 2]),
        ({"per_image": 2, "corrected_share": 0.5, "corrections": 3}, [1]),
        ({"per_image": 60, "corrected_share": 0.5, "corrections": 0}, []),
        ({"per_image": 60, "corrected_share": 0.0, "corrections": 3}, []),
    ],
)
def test_rounds_are_for_ever_fewer_prompts(options, rounds):
    assert list(corrected_from(PromptConfig(**options))) == rounds


@pytest.mark.parametrize(("cells", "pixels"), [(8, 32), (5, 32), (32, 32), (7, 100)])
def test_every_pixel_of_an_axis_can_be_looked_at(cells, pixels):
    device = torch.device("cpu")
    looked = [grid_pixels(cells, pixels, offset, device).tolist() for offset in np.linspace(0, 0.9999, 200)]
    assert {pixel for seen in looked for pixel in seen} == set(range(pixels))
    assert all(sorted(set(seen)) == seen for seen in looked)

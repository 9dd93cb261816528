from __future__ import annotations

import numpy as np
import pytest
import torch

from training.postprocess.frame import Frame
from training.postprocess.prompt_masks import (
    dense_logits,
    logits_of_prompt,
    masks_of_prompts,
    theta_of_area,
    trace_masks,
)
from training.postprocess.tracing import Tracer
from training.prompts import PromptOutput

FRAME = Frame((64, 96), (50, 96), (75, 133))


def drawn_output(prompts: int = 3, *, seed: int = 0, cells_hw: tuple[int, int] = (16, 24)) -> PromptOutput:
    rng = torch.Generator().manual_seed(seed)
    return PromptOutput(
        torch.randn(1, 1, prompts, 6, 8, generator=rng),
        torch.rand(1, 1, prompts, 6, generator=rng),
        torch.full((1, 1, prompts, 6, 4), 0.5),
        torch.randn(1, 8, *cells_hw, generator=rng),
    )


@pytest.mark.parametrize("frame", [FRAME, Frame((64, 96), (64, 96), (20, 30)), Frame((64, 96), (1, 90), (3, 700))])
def test_dense_logits_are_those_that_are_traced(frame):
    logits_hw = np.random.default_rng(0).normal(size=(16, 24)).astype(np.float32)
    rows, columns = frame.axes((16, 24))
    dense_HW = dense_logits(logits_hw, rows, columns)
    _, inside_P = Tracer(rows, columns).trace(np.ascontiguousarray(logits_hw.T))
    np.testing.assert_array_equal(dense_HW.T[dense_HW.T > 0], inside_P)
    padded_HW = torch.nn.functional.interpolate(
        torch.from_numpy(logits_hw)[None, None], frame.padded_hw, mode="bilinear"
    )
    unpadded_HW = padded_HW[:, :, : frame.unpadded_hw[0], : frame.unpadded_hw[1]]
    expected_HW = torch.nn.functional.interpolate(unpadded_HW, frame.original_hw, mode="bilinear")[0, 0]
    np.testing.assert_allclose(dense_HW, expected_HW.numpy(), atol=1e-5)


def test_masks_of_each_prompt_by_area():
    output = drawn_output()
    for p, masks in enumerate(masks_of_prompts(output, FRAME)):
        logits_QHW = logits_of_prompt(output, FRAME, p)
        np.testing.assert_array_equal(masks.decode(), logits_QHW > 0)
        assert (np.diff(masks.area_px) >= 0).all() and masks.level.tolist() == [5, 4, 3, 2, 1, 0]
        assert (np.diff(masks.theta) <= 0).all() and set(masks.source) == {"prompt"}
        assert sorted(masks.score.tolist()) == sorted(output.ious_LBPQ[0, 0, p].tolist())
    assert p == 2


def test_scores_go_with_their_masks():
    output = drawn_output(1)
    (masks,) = masks_of_prompts(output, FRAME)
    logits_Qhw = output.mask_logits(0)[0]
    for rank, score in enumerate(masks.score.tolist()):
        q = output.ious_LBPQ[0, 0, 0].tolist().index(score)
        dense_HW = dense_logits(logits_Qhw[q].numpy(), *FRAME.axes((16, 24)))
        assert (dense_HW > 0).sum() == masks.area_px[rank]


def test_an_empty_mask_is_the_smallest():
    output = drawn_output(1)
    output.features_BChw[:] = output.features_BChw.abs()
    output.embeddings_LBPQC[..., 3, :] = -1.0
    (masks,) = masks_of_prompts(output, FRAME)
    assert masks.area_px[0] == 0 and masks.theta[0] == 1
    assert masks.score[0] == output.ious_LBPQ[0, 0, 0, 3] and not logits_of_prompt(output, FRAME, 0)[0].max() > 0


@pytest.mark.parametrize("threads", [1, 3])
def test_stability_is_the_iou_of_two_cuts(threads):
    output = drawn_output(2)
    chosen_N = torch.tensor([7, 0, 11])
    traced = trace_masks(output, FRAME, chosen_N, threads=threads, offset=0.5)
    logits_Nhw = output.mask_logits(0).flatten(0, 1)[chosen_N]
    for mask, logits_hw in zip(traced, logits_Nhw, strict=True):
        dense_HW = dense_logits(logits_hw.numpy(), *FRAME.axes((16, 24)))
        assert mask.area_px == (dense_HW > 0).sum()
        assert mask.stability == pytest.approx((dense_HW > 0.5).sum() / (dense_HW > -0.5).sum(), abs=1e-3)
    assert np.isnan([mask.stability for mask in trace_masks(output, FRAME, chosen_N)]).all()
    assert trace_masks(output, FRAME, chosen_N[:0], offset=0.5) == []


def test_theta():
    assert theta_of_area(np.array([0, 1]), (1, 1)).tolist() == [0, 0]
    assert theta_of_area(np.array([200, 100, 50]), (10, 20)).round(3).tolist() == [0.0, 0.131, 0.262]


def test_ious_that_are_no_numbers():
    output = drawn_output(1)
    output.ious_LBPQ[..., 0] = float("nan")
    with pytest.raises(ValueError, match="predicted IoUs must be finite"):
        next(masks_of_prompts(output, FRAME))
    with pytest.raises(ValueError, match="cells and unpadded must be"):
        next(masks_of_prompts(drawn_output(1), Frame((8, 8), (8, 8), (8, 8))))

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from dico.mask_codes import decode_mask
from dico.masks import MaskSet
from dico.rle import encode_counts
from tests.reference.whole_image_masks import published_masks
from training.config import InferenceConfig
from training.postprocess import products
from training.postprocess.frame import Frame
from training.postprocess.masks import masks_of_output
from training.postprocess.tracing import Tracer, resize_twice
from training.samples import FactoredOutput

NEAR_ZERO = 1e-4
"""Rounding may decide about pixels whose logit is nearer to 0."""

FRAMES = {
    "enlarged": Frame((96, 128), (90, 120), (180, 333)),
    "shrunk": Frame((96, 128), (90, 120), (41, 60)),
    "of its own size": Frame((64, 96), (64, 96), (64, 96)),
    "portrait": Frame((160, 64), (150, 40), (301, 80)),
    "one pixel": Frame((32, 32), (32, 32), (1, 1)),
    "a line": Frame((32, 64), (1, 64), (1, 700)),
    "stretched": Frame((32, 96), (20, 70), (400, 7)),
}


def drawn_output(frame: Frame, *, queries: int = 12, seed: int = 0, bias: float = 0.0, images: int = 1):
    """Smooth random masks; a bias below 0 leaves some of them empty."""
    rng = torch.Generator().manual_seed(seed)
    h, w = frame.padded_hw[0] // 4, frame.padded_hw[1] // 4
    coarse_BChw = torch.randn(images, 6, max(2, h // 5), max(2, w // 5), generator=rng)
    features_BChw = torch.nn.functional.interpolate(coarse_BChw, size=(h, w), mode="bicubic")
    features_BChw = torch.cat([features_BChw, torch.ones(images, 1, h, w)], dim=1)
    embeddings_LBQC = torch.randn(2, images, queries, 7, generator=rng)
    embeddings_LBQC[..., -1] += bias
    return FactoredOutput(torch.randn(2, images, queries, 2, generator=rng), embeddings_LBQC, features_BChw)


def require_published(found: MaskSet, output: FactoredOutput, frame: Frame, *, image: int = 0) -> None:
    expected = published_masks(output, frame.padded_hw, frame.unpadded_hw, frame.original_hw, image=image)
    queries = np.flatnonzero((expected.logits_QHW > 0).any(axis=(1, 2)))
    queries = queries[np.argsort(-expected.score_Q[queries], kind="stable")]
    assert len(found) == len(queries) and found.size_hw == frame.original_hw
    np.testing.assert_allclose(found.score, expected.score_Q[queries], rtol=1e-5)
    for mask_HW, logits_HW in zip(found.iter_decoded(), expected.logits_QHW[queries], strict=True):
        certain_HW = np.abs(logits_HW) > NEAR_ZERO
        np.testing.assert_array_equal(mask_HW[certain_HW], logits_HW[certain_HW] > 0)


@pytest.mark.parametrize("name", FRAMES)
def test_masks_and_scores_are_the_published_ones(name):
    frame = FRAMES[name]
    output = drawn_output(frame)
    require_published(masks_of_output(output, frame, InferenceConfig()), output, frame)


@settings(max_examples=30)
@given(st.data())
def test_masks_of_any_frame_are_the_published_ones(data):
    padded_hw = tuple(32 * data.draw(st.integers(1, 3)) for _ in range(2))
    unpadded_hw = tuple(data.draw(st.integers(1, side)) for side in padded_hw)
    frame = Frame(padded_hw, unpadded_hw, tuple(data.draw(st.integers(1, 150)) for _ in range(2)))
    output = drawn_output(frame, queries=4, seed=data.draw(st.integers(0, 1000)), bias=-1.0)
    require_published(masks_of_output(output, frame, InferenceConfig()), output, frame)


def test_the_image_of_a_batch_that_is_asked_for():
    frame = FRAMES["portrait"]
    output = drawn_output(frame, images=3)
    require_published(masks_of_output(output, frame, InferenceConfig(), image=2), output, frame, image=2)


def test_neither_chunks_nor_threads_change_anything(monkeypatch):
    frame = FRAMES["enlarged"]
    output = drawn_output(frame, queries=13)
    whole = masks_of_output(output, frame, InferenceConfig())
    assert masks_of_output(output, frame, InferenceConfig(), threads=4) == whole
    h, w = output.features_BChw.shape[2:]
    monkeypatch.setattr(products, "CHUNK_BYTES", 5 * 4 * h * w)
    for threads in (1, 2, 3):
        assert masks_of_output(output, frame, InferenceConfig(), threads=threads) == whole


def test_one_query_and_none():
    frame = FRAMES["shrunk"]
    sure = FactoredOutput(torch.tensor([[[[2.0, 0.0]]]]), torch.ones(1, 1, 1, 1), torch.full((1, 1, 24, 32), 3.0))
    found = masks_of_output(sure, frame, InferenceConfig())
    assert found.area_px.tolist() == [41 * 60] and found.source == ("whole_image",)
    logistic = 1 / (1 + np.exp(-np.array([2.0, 3.0])))
    assert found.score[0] == pytest.approx(logistic.prod(), rel=1e-6)
    nowhere = FactoredOutput(sure.class_logits_LBQ2, sure.embeddings_LBQC, -sure.features_BChw)
    assert masks_of_output(nowhere, frame, InferenceConfig()) == MaskSet.empty((41, 60))


def test_the_likeliest_objects_are_chosen_and_the_best_masks_come_first():
    frame = FRAMES["of its own size"]
    output = drawn_output(frame)
    every = masks_of_output(output, frame, InferenceConfig())
    assert (np.diff(every.score) <= 0).all()
    likeliest = output.class_logits_LBQ2[-1, 0].softmax(dim=-1)[:, 0].topk(5).indices.sort().values
    alone = FactoredOutput(
        output.class_logits_LBQ2[:, :, likeliest], output.embeddings_LBQC[:, :, likeliest], output.features_BChw
    )
    some = masks_of_output(output, frame, InferenceConfig(max_masks=5))
    assert some == masks_of_output(alone, frame, InferenceConfig()) and len(some) == 5


def test_equal_queries_keep_their_order():
    frame = FRAMES["of its own size"]
    features_BChw = torch.zeros(1, 3, 16, 24)
    for query in range(3):
        features_BChw[0, query, :, 8 * query : 8 * query + 4] = 1.0
    output = FactoredOutput(torch.zeros(1, 1, 3, 2), 2 * torch.eye(3)[None, None] - 0.0, features_BChw)
    found = masks_of_output(output, frame, InferenceConfig(max_masks=2))
    assert found.boxes_xyxy[:, 0].tolist()[0] == 0 and 20 < found.boxes_xyxy[1, 0] < 40


def test_filters():
    frame = FRAMES["enlarged"]
    output = drawn_output(frame, queries=20, bias=-1.0)
    every = masks_of_output(output, frame, InferenceConfig())
    limit = float(np.median(every.score))
    assert masks_of_output(output, frame, InferenceConfig(min_score=limit)) == every[every.score >= limit]
    area = int(np.median(every.area_px))
    assert masks_of_output(output, frame, InferenceConfig(min_area_px=area)) == every[every.area_px >= area]
    apart = masks_of_output(output, frame, InferenceConfig(max_iou=0.2))
    assert 0 < len(apart) < len(every) and np.triu(apart.iou(), 1).max() <= 0.2


def test_lower_precision_is_taken():
    frame = FRAMES["shrunk"]
    output = drawn_output(frame)
    low = FactoredOutput(output.class_logits_LBQ2.bfloat16(), output.embeddings_LBQC.bfloat16(), output.features_BChw)
    assert len(masks_of_output(low, frame, InferenceConfig())) == len(masks_of_output(output, frame, InferenceConfig()))


def test_refusals():
    frame = FRAMES["shrunk"]
    output = drawn_output(frame)
    bad = FactoredOutput(output.class_logits_LBQ2 * torch.nan, output.embeddings_LBQC, output.features_BChw)
    with pytest.raises(ValueError, match="scores must be finite, got NaN"):
        masks_of_output(bad, frame, InferenceConfig())
    with pytest.raises(ValueError, match="cells and unpadded must be 1 to padded=20"):
        masks_of_output(output, Frame((20, 128), (20, 120), (41, 60)), InferenceConfig())


def test_the_weights_of_an_axis():
    axis = resize_twice(5, 20, 17, 9)
    assert axis.weights_YT.min() >= 0 and (np.diff(axis.cells_YT, axis=0) >= 0).all()
    np.testing.assert_allclose(axis.weights_YT.sum(axis=1), 1, rtol=1e-6)
    values = torch.arange(5.0)[None, None] ** 2
    padded = torch.nn.functional.interpolate(values, size=20, mode="linear")[:, :, :17]
    expected = torch.nn.functional.interpolate(padded, size=9, mode="linear")[0, 0]
    np.testing.assert_allclose((axis.weights_YT * (axis.cells_YT**2)).sum(axis=1), expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_scattered_pixels_are_traced(seed):
    """Every cell for itself: runs in all places, at both ends of columns, and columns without any."""
    logits_wh = np.random.default_rng(seed).choice([-1.0, 1.0], (7, 9), p=[0.6, 0.4]).astype(np.float32)
    logits_wh[seed] = -1
    counts_R, inside_P = Tracer(resize_twice(9, 9, 9, 9), resize_twice(7, 7, 7, 7)).trace(logits_wh)
    np.testing.assert_array_equal(decode_mask((9, 7), encode_counts(counts_R)), logits_wh.T > 0)
    assert inside_P.tolist() == [1.0] * int((logits_wh > 0).sum())


def test_a_large_image_is_traced_by_fewer_threads(monkeypatch):
    frame = FRAMES["enlarged"]
    output = drawn_output(frame)
    made = []
    monkeypatch.setattr(products, "Tracer", lambda *axes: made.append(Tracer(*axes)) or made[-1])
    for room, threads in ((1, 1), (3, 3), (9, 4)):
        monkeypatch.setattr(products, "TRACING_BYTES", room * 4 * 180 * 333)
        made.clear()
        require_published(masks_of_output(output, frame, InferenceConfig(), threads=4), output, frame)
        assert len(made) == threads


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.bytes = max(self.bytes, result.numel() * result.element_size())
        return result


def test_memory_does_not_grow_with_the_queries(monkeypatch):
    frame = Frame((96, 128), (90, 120), (600, 800))
    monkeypatch.setattr(products, "CHUNK_BYTES", 50_000)
    for queries in (50, 1000):  # the first loads compiled code
        output = drawn_output(frame, queries=queries, bias=-2.0)
        features = output.features_BChw.numel() * 4
        if queries == 1000:
            tracemalloc.start()
        with Largest() as largest:
            masks_of_output(output, frame, InferenceConfig())
        assert largest.bytes <= max(50_000, features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The logits of one mask at the size of the image (2 MB), and the codes; dense masks would be 480 MB.
    assert peak < 8_000_000

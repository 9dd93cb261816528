from __future__ import annotations

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from dico.config_loading import to_plain
from tests.conftest import draw
from tests.reference.automatic_masks import box_iou, box_of, cleaned
from tests.training.annotated import write_checkpoint
from tests.training.asked import INFERENCE, SMALL, small_model, write_promptable
from training import prompt_predictor
from training.config import InferenceConfig, PromptConfig, TrainConfig
from training.granularity import chosen
from training.models.checkpoint_files import CheckpointError
from training.prompt_predictor import FEW_PROMPTS, PromptPredictor

CLICKS = np.array([[[5, 9], [40, 30]], [[69, 49], [0, 0]], [[33, 20], [35, 20]], [[1, 48], [60, 2]]])
LABELS = np.array([[1, 0], [1, 1], [0, 1], [1, -1]])
BOXES = np.array([[0, 0, 70, 50], [3, 4, 9, 30], [60, 40, 70, 50], [10, 10, 11, 11]])


@pytest.fixture(scope="module")
def predictor():
    predictor = PromptPredictor(small_model(), INFERENCE)
    predictor.set_image(draw(0, (50, 70)))
    return predictor


def test_six_masks_from_part_to_whole(predictor):
    masks, ious = predictor.predict(points=[[30, 20]])
    assert masks.shape == (6, 50, 70) and masks.dtype == bool and ious.shape == (6,) and ious.dtype == np.float32
    assert (np.diff(masks.sum(axis=(1, 2))) >= 0).all()
    by_iou, falling = predictor.predict(points=[[30, 20]], order="iou")
    assert (np.diff(falling) <= 0).all()
    np.testing.assert_array_equal(by_iou, masks[np.argsort(-ious, kind="stable")])


@pytest.mark.parametrize(
    "asked",
    [{"points": CLICKS, "labels": LABELS}, {"boxes": BOXES}, {"points": CLICKS, "labels": LABELS, "boxes": BOXES}],
)
@pytest.mark.parametrize("at_once", [1, 3, 200])
def test_a_batch_is_as_one_by_one(predictor, monkeypatch, asked, at_once):
    monkeypatch.setattr(prompt_predictor, "PROMPTS_AT_ONCE", at_once)
    together, ious = predictor.predict_batch(**asked, order="iou", return_logits=True)
    assert together.shape == (4, 6, 50, 70) and together.dtype == np.float32
    for p in range(4):
        one = {name.replace("boxes", "box"): values[p] for name, values in asked.items()}
        alone, expected = predictor.predict(**one, order="iou", return_logits=True)
        np.testing.assert_allclose(ious[p], expected, atol=1e-5)
        np.testing.assert_allclose(together[p], alone, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
def test_masks_are_where_logits_are_positive_but_for_small_regions(share):
    predictor = PromptPredictor(small_model(), replace(INFERENCE, min_region_share=share))
    predictor.set_image(draw(0, (50, 70)))
    for asked in ({"points": CLICKS, "labels": LABELS}, {"boxes": BOXES}):
        masks, ious = predictor.predict_batch(**asked)
        logits, raw_ious = predictor.predict_batch(**asked, return_logits=True)
        for p, (masks_QHW, raw_QHW) in enumerate(zip(masks, logits > 0, strict=True)):
            cleaned_QHW = np.stack([cleaned(raw_HW, 0, share) for raw_HW in raw_QHW])
            order_Q = np.argsort(cleaned_QHW.sum(axis=(1, 2)), kind="stable")
            np.testing.assert_array_equal(masks_QHW, cleaned_QHW[order_Q])
            if "boxes" in asked:
                fits_Q = [box_iou(box_of(mask_HW), BOXES[p]) for mask_HW in masks_QHW]
            else:
                clicks = [(x, y, label) for (x, y), label in zip(CLICKS[p], LABELS[p], strict=True) if label >= 0]
                fits_Q = [np.mean([mask_HW[y, x] == label for x, y, label in clicks]) for mask_HW in masks_QHW]
            expected_Q = raw_ious[p][order_Q]
            np.testing.assert_allclose(ious[p], np.where(expected_Q > 0, expected_Q * fits_Q, expected_Q), rtol=1e-5)
        assert (share == 0) == bool((masks == (logits > 0)).all())
        sets = list(predictor.masks(**asked))
        np.testing.assert_array_equal(masks, np.stack([of_prompt.decode() for of_prompt in sets]))
        np.testing.assert_array_equal(ious, np.stack([of_prompt.score for of_prompt in sets]))
        assert all((np.diff(of_prompt.area_px) >= 0).all() for of_prompt in sets)
        assert all(of_prompt.level.tolist() == [5, 4, 3, 2, 1, 0] for of_prompt in sets)


def test_padding_is_no_point_and_what_is_clicked_matters(predictor):
    padded, _ = predictor.predict_batch([[[30, 20], [1, 1]]], [[1, -1]], return_logits=True)
    alone, _ = predictor.predict(points=[[30, 20]], return_logits=True)
    np.testing.assert_allclose(padded[0], alone, atol=1e-4)
    for other in ({"points": [[31, 40]]}, {"points": [[30, 20], [5, 5]], "labels": [1, 0]}, {"box": [20, 10, 40, 30]}):
        assert np.abs(predictor.predict(**other, return_logits=True)[0] - alone).max() > 1e-2
    positive, _ = predictor.predict(points=[[30, 20], [5, 5]], return_logits=True)
    negative, _ = predictor.predict(points=[[30, 20], [5, 5]], labels=[1, 0], return_logits=True)
    assert np.abs(positive - negative).max() > 1e-2


def test_granularity_gives_one_mask(predictor):
    masks, ious = predictor.predict(points=[[30, 20]])
    areas = masks.sum(axis=(1, 2))
    for granularity in (0, 5, 0.0, 0.4, 1.0):
        one, iou = predictor.predict(points=[[30, 20]], granularity=granularity)
        place = chosen(areas, granularity)
        np.testing.assert_array_equal(one, masks[[place]])
        assert iou.tolist() == [ious[place]]
    each, _ = predictor.predict_batch(CLICKS, LABELS, granularity=[0, 1.0, 3, 0.5])
    assert each.shape == (4, 1, 50, 70)
    for p, granularity in enumerate([0, 1.0, 3, 0.5]):
        one, _ = predictor.predict(points=CLICKS[p], labels=LABELS[p], granularity=granularity)
        np.testing.assert_array_equal(each[p], one)
    np.testing.assert_array_equal(predictor.predict_batch(CLICKS, LABELS, granularity=np.array([2] * 4))[0].shape[1], 1)


def test_no_prompts(predictor):
    masks, ious = predictor.predict_batch(np.zeros((0, 1, 2)))
    assert masks.shape == (0, 6, 50, 70) and masks.dtype == bool and ious.shape == (0, 6)
    assert predictor.predict_batch(boxes=np.zeros((0, 4)), granularity=0.5)[0].shape == (0, 1, 50, 70)


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 900), (700, 3)])
def test_images_of_any_shape(size_hw):
    predictor = PromptPredictor(small_model(), InferenceConfig(short_side=96, long_side=160))
    predictor.set_image(draw(1, size_hw))
    corners = [[[0, 0]], [[size_hw[1] - 1, size_hw[0] - 1]]]
    masks, ious = predictor.predict_batch(corners)
    assert masks.shape == (2, 6, *size_hw) and np.isfinite(ious).all()


def test_an_image_that_was_seen_before():
    predictor = PromptPredictor(small_model(), INFERENCE)
    with pytest.raises(RuntimeError, match=r"call set_image\(image\) first"):
        predictor.predict(points=[[1, 1]])
    first = predictor.embed(draw(0))
    with pytest.raises(RuntimeError, match="an image must be set"):
        predictor.predict(points=[[1, 1]])
    predictor.set_image(draw(1))
    other = predictor.predict(points=[[9, 9]], return_logits=True)[0]
    predictor.set_image(first)
    again = predictor.predict(points=[[9, 9]], return_logits=True)[0]
    predictor.set_image(draw(0))
    np.testing.assert_array_equal(again, predictor.predict(points=[[9, 9]], return_logits=True)[0])
    assert np.abs(again - other).max() > 1e-3


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({}, "points or a box must be given"),
        ({"points": [3, 4]}, r"points must have the shape \(K, 2\) of x, y, got shape \(2,\)"),
        ({"box": [[0, 0, 1, 1]]}, r"box must have the shape \(4,\) of left, top, right, bottom, got shape \(1, 4\)"),
        ({"points": [[3, 4]], "labels": [1, 1]}, "labels must be one for each point"),
        ({"points": [[70, 4]]}, "points must lie in the image, x from 0 to 69"),
        ({"points": [[3, 4]], "labels": [0]}, "must have a box or a point that is wanted"),
        ({"points": [[3, 4]], "order": "score"}, "order must be one of area, iou, got 'score'"),
        ({"points": [[3, 4]], "granularity": 6}, "granularity must be a mask from 0"),
        ({"points": [[3, 4]], "granularity": [1, 2]}, "one for each of the 1 prompts, got 2"),
        ({"points": [[3, 4], [5]]}, r"points must be numbers of the shape \(K, 2\)"),
        ({"box": [80, 10, 90, 20]}, "boxes must lie in the 70x50 image"),
    ],
)
def test_refusals(predictor, asked, complaint):
    with pytest.raises(ValueError, match=complaint):
        predictor.predict(**asked)


@pytest.mark.parametrize("granularity", [6, 1.5, "part", [0, 1.5], [0, "part"], (0, 1, 2)])
def test_a_granularity_is_refused_before_the_network_is_asked(granularity):
    model = small_model()
    predictor = PromptPredictor(model, INFERENCE)
    predictor.set_image(draw(0, (50, 70)))
    asked = []
    model.prompt_decoder.register_forward_hook(lambda *_: asked.append(1))
    with pytest.raises((TypeError, ValueError), match="granularity must be"):
        predictor.predict_batch(CLICKS[:2], LABELS[:2], granularity=granularity)
    assert not asked
    predictor.predict_batch(CLICKS[:2], LABELS[:2], granularity=(0, 0.5), return_logits=True)
    assert len(asked) == 1  # masks and logits are of one answer


def test_masks_are_refused_at_the_call_and_answered_one_by_one(predictor):
    with pytest.raises(ValueError, match=r"points must have the shape \(P, K, 2\) of x, y"):
        predictor.masks(points=[[3, 4]])
    found = predictor.masks(points=[[[3, 4]], [[5, 6], [7, 8]]])
    masks, _ = predictor.predict_batch([[[3, 4]], [[5, 6], [7, 8]]])
    np.testing.assert_array_equal(masks, np.stack([of_prompt.decode() for of_prompt in found]))


def test_a_box_that_sticks_out_is_the_part_within(predictor):
    out, out_ious = predictor.predict(box=[-0.2, -3, 30, 20])
    within, ious = predictor.predict(box=[0, 0, 30, 20])
    np.testing.assert_array_equal(out, within)
    np.testing.assert_array_equal(out_ious, ious)


@pytest.mark.parametrize(
    ("image", "error", "complaint"),
    [
        (np.zeros((4, 4, 3)), TypeError, r"got an array of float64: of values from 0 to 1 \(255 \* image\).round"),
        (
            np.zeros((4, 4, 3), np.uint16),
            TypeError,
            r"got an array of uint16: dico\.image\.load_image\(path\) reads one",
        ),
        ("photo.jpg", TypeError, r"image must be a uint8 array, got str: dico\.image\.load_image\(path\)"),
        (PIL.Image.new("L", (4, 4)), TypeError, r'got Image: np\.asarray\(image\.convert\("RGB"\)\) makes one'),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), TypeError, r"got a torch tensor: .* image\.permute\(1, 2, 0\)"),
        ([[[0, 0, 0]]], TypeError, r"got list: np\.asarray\(image\)"),
        (np.zeros((4, 4), np.uint8), ValueError, r"must have the shape \(H, W, 3\), RGB, got \(4, 4\): np\.stack"),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r"got \(4, 4, 4\): image\[\.\.\., :3\]"),
        (np.zeros((3, 4, 5), np.uint8), ValueError, r"image\.transpose\(1, 2, 0\)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "got"),
    ],
)
def test_what_is_no_image(predictor, image, error, complaint):
    with pytest.raises(error, match=complaint):
        predictor.set_image(image)


def test_a_checkpoint_says_what_network_it_is_and_how_it_is_asked(tmp_path, predictor):
    path = write_promptable(tmp_path / "a.pth")
    loaded = PromptPredictor.from_checkpoint(path)
    loaded.set_image(draw(0, (50, 70)))
    found, expected = (p.predict(points=[[30, 20]], return_logits=True) for p in (loaded, predictor))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    larger = PromptPredictor.from_checkpoint(path, overrides=["inference.short_side=80", "inference.long_side=128"])
    larger.set_image(draw(0, (50, 70)))
    assert larger.image.frame.unpadded_hw == (80, 112)


def test_a_click_is_as_large_as_in_training(tmp_path):
    config = TrainConfig(inference=INFERENCE, prompts=PromptConfig(click_px=11))
    predictor = PromptPredictor.from_checkpoint(write_promptable(tmp_path / "a.pth", config))
    seen = predictor.embed(draw(0, (50, 70)))
    torch.testing.assert_close(
        predictor.prompts(seen, [[[3, 3]]]).boxes_BP4[0, 0, 2:], torch.tensor([11 / 96, 11 / 64])
    )


def test_weights_alone_need_a_file_that_says_what_they_are_of(tmp_path):
    torch.save(small_model().state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth does not say that it is a promptable model"):
        PromptPredictor.from_checkpoint(tmp_path / "a.pth")
    network = {name: value for name, value in to_plain(SMALL).items() if name not in ("swin", "resnet")}
    (tmp_path / "a.yaml").write_text(
        f"{{task: promptable, promptable: {network}}}".replace("'", '"').replace("(", "[").replace(")", "]")
    )
    loaded = PromptPredictor.from_checkpoint(tmp_path / "a.pth", config_file=tmp_path / "a.yaml")
    loaded.set_image(draw(0))
    assert loaded.predict(points=[[3, 3]])[0].shape == (6, 48, 64)


def test_refused_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file or folder"):
        PromptPredictor.from_checkpoint(tmp_path / "no.pth")
    with pytest.raises(CheckpointError, match="does not say that it is a promptable model"):
        PromptPredictor.from_checkpoint(write_checkpoint(tmp_path / "whole.pth"))
    path = write_promptable(tmp_path / "a.pth")
    held = torch.load(path)
    del held["model"]["prompt_encoder.base.weight"]
    torch.save(held, path)
    with pytest.raises(CheckpointError, match=r"1 missing: prompt_encoder\.base\.weight"):
        PromptPredictor.from_checkpoint(path)


def test_devices_are_those_of_the_tools(tmp_path):
    path = write_promptable(tmp_path / "a.pth")
    for device in ("auto", "cpu", torch.device("cpu")):
        predictor = PromptPredictor.from_checkpoint(path, device=device)
        predictor.set_image(draw(0))
        assert predictor.predict(points=[[3, 3]])[0].shape == (6, 48, 64)
    absent = "cuda" if torch.backends.mps.is_available() else "mps"  # no machine has both
    with pytest.raises(ValueError, match=f"device={absent} is not to be had here, as torch finds no such GPU"):
        PromptPredictor.from_checkpoint(path, device=absent)
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda or mps, got 'gpu'"):
        PromptPredictor.from_checkpoint(path, device="gpu")


def test_lower_precision_and_a_model_in_training(predictor):
    config = InferenceConfig(64, 96, min_region_share=0.0, precision="bfloat16")
    low = PromptPredictor(small_model().train(), config)
    low.set_image(draw(0, (50, 70)))
    logits, ious = low.predict(points=[[30, 20]], return_logits=True)
    full, expected = predictor.predict(points=[[30, 20]], return_logits=True)
    assert logits.dtype == np.float32 and np.abs(ious - expected).max() < 0.1
    assert 0 < np.abs(logits - full).mean() < 0.1 * np.abs(full).mean()
    np.testing.assert_array_equal(low.predict(points=[[30, 20]])[0], logits > 0)


@pytest.mark.parametrize(("prompts", "expected"), [(1, 1), (FEW_PROMPTS, 1), (FEW_PROMPTS + 1, 2)])
def test_few_prompts_are_answered_by_one_thread_which_is_nobody_elses_affair(prompts, expected):
    model = small_model()
    predictor = PromptPredictor(model, INFERENCE)
    predictor.set_image(draw(0, (50, 70)))
    seen = []
    model.prompt_decoder.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in predictor.outputs(predictor.image, predictor.prompts(predictor.image, [[[9, 9]]] * prompts)):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [expected]

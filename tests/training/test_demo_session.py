"""What a tab of the page holds, shows and gives away; without a browser."""

from __future__ import annotations

import json
import sys
import threading

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

import tools.demo as tool
from dico.config_loading import to_plain
from dico.image import ImageError
from dico.mask_codes import decode_mask
from dico.masks import MaskSet
from tests.conftest import draw
from tests.training.asked import INFERENCE, decisive_model, write_promptable
from training.automatic_masks import AutomaticMasks
from training.config import AutomaticConfig, TrainConfig
from training.demo import uploads
from training.demo.clicks import Click, Use, box_of, is_answerable, open_corner, pixel_at, points_of
from training.demo.downloads import write_coco, write_png
from training.demo.pictures import ACCENT, COLOURS, draw_choices, draw_result, resized_masks, spotlight, view_size
from training.demo.pictures import draw as draw_tab
from training.demo.session import Answer, Segmenter, next_step, shown_first
from training.models.recorded import save_recorded
from training.prompt_predictor import PromptPredictor

WANTED, NOT_WANTED, CORNER = Use.WANTED, Use.NOT_WANTED, Use.CORNER
SIZE_HW = (50, 70)


@pytest.fixture(scope="module")
def predictor():
    return PromptPredictor(decisive_model(), INFERENCE)


@pytest.fixture(scope="module")
def segmenter(predictor):
    config = AutomaticConfig(points_per_side=3, min_iou=0.0, min_stability=0.0, max_box_iou=1.0, min_region_px=0)
    return Segmenter(predictor, AutomaticMasks(predictor, config, INFERENCE))


@pytest.fixture(scope="module")
def opened(segmenter):
    return segmenter.open(draw(0, SIZE_HW), "a photograph.jpg")


# ---------------------------------------------------------------- clicks


@pytest.mark.parametrize("size_hw", [SIZE_HW, (1, 9), (700, 500), (3000, 4000)])
def test_a_click_in_the_middle_of_a_pixel_is_on_that_pixel(size_hw):
    """Browsers give whole pixels of the picture, so those of a larger photograph are named to the nearest one."""
    view_hw = view_size(size_hw)
    scale = max(1.0, max(size_hw) / max(view_hw))
    rng = np.random.default_rng(0)
    for x, y in zip(rng.integers(0, size_hw[1], 50), rng.integers(0, size_hw[0], 50), strict=True):
        place_xy = (round((x + 0.5) * view_hw[1] / size_hw[1]), round((y + 0.5) * view_hw[0] / size_hw[0]))
        found_x, found_y = pixel_at(place_xy, view_hw, size_hw)
        if scale == 1:
            assert (found_x, found_y) == (x, y)
        assert abs(found_x - x) < scale and abs(found_y - y) < scale


def test_the_last_two_corners_are_a_box_that_holds_both_pixels():
    clicks = [Click(9, 2, CORNER), Click(1, 1, WANTED), Click(3, 5, CORNER)]
    assert box_of(clicks) == (3, 2, 10, 6) and open_corner(clicks) is None
    assert box_of(clicks[:1]) is None and open_corner(clicks[:2]) == clicks[0]
    third = Click(0, 0, CORNER)
    assert box_of([*clicks, third]) is None and open_corner([*clicks, third]) == third
    assert box_of([*clicks, third, third]) == (0, 0, 1, 1)


def test_what_is_not_wanted_alone_cannot_be_answered():
    assert points_of([Click(1, 2, WANTED), Click(3, 4, CORNER), Click(5, 6, NOT_WANTED)]) == ([(1, 2), (5, 6)], [1, 0])
    assert not is_answerable([]) and not is_answerable([Click(1, 2, NOT_WANTED), Click(1, 2, CORNER)])
    assert is_answerable([Click(1, 2, WANTED)]) and is_answerable([Click(1, 2, CORNER)] * 2)


# ---------------------------------------------------------------- sessions


@pytest.mark.parametrize(
    ("clicks", "asked"),
    [
        ([Click(33, 20, WANTED)], {"points": [[33, 20]]}),
        ([Click(33, 20, WANTED), Click(3, 4, NOT_WANTED)], {"points": [[33, 20], [3, 4]], "labels": [1, 0]}),
        ([Click(40, 30, CORNER), Click(10, 5, CORNER)], {"box": [10, 5, 41, 31]}),
        (
            [Click(40, 30, CORNER), Click(10, 5, CORNER), Click(8, 9, NOT_WANTED)],
            {"box": [10, 5, 41, 31], "points": [[8, 9]], "labels": [0]},
        ),
    ],
)
def test_clicks_are_answered_as_the_predictor_does(segmenter, predictor, opened, clicks, asked):
    session = opened
    for click in clicks:
        session = segmenter.with_click(session, click)
    predictor.set_image(opened.seen)
    masks, ious = predictor.predict(**asked)
    np.testing.assert_array_equal(session.answer.masks.decode(), masks)
    np.testing.assert_array_equal(session.answer.masks.score, ious)
    first = shown_first(session.answer.masks, has_box="box" in asked)
    np.testing.assert_array_equal(session.answer.shown().decode()[0], masks[first])


def test_undo_goes_back_click_by_click_and_clear_to_the_photograph(segmenter, opened):
    one = segmenter.with_click(opened, Click(33, 20, WANTED))
    two = segmenter.with_click(one, Click(3, 4, NOT_WANTED))
    assert two.answer.masks != one.answer.masks
    back = segmenter.undone(two)
    assert back.clicks == one.clicks and back.answer.masks == one.answer.masks
    assert segmenter.undone(back).answer is None
    assert segmenter.undone(segmenter.undone(back)).clicks == ()
    assert segmenter.cleared(two).clicks == () and segmenter.cleared(two).answer is None
    everything = segmenter.with_everything(two)
    assert segmenter.undone(everything).answer.masks == two.answer.masks  # everything is taken back, no click


def test_a_click_that_waits_for_others_is_kept(segmenter, opened):
    waiting = segmenter.with_click(opened, Click(3, 4, NOT_WANTED))
    assert waiting.answer is None and "wanted" in next_step(waiting) and "Click" in next_step(opened)
    assert segmenter.with_click(waiting, Click(33, 20, WANTED)).clicks == (*waiting.clicks, Click(33, 20, WANTED))


def test_granularity_and_place_are_the_same_choice(segmenter, opened):
    answer = segmenter.with_click(opened, Click(33, 20, WANTED)).answer
    areas = answer.masks.area_px
    for place in np.flatnonzero(areas):
        picked = answer.picked(place)
        assert picked.place == place and 0 <= picked.granularity <= 1
        assert areas[picked.at(picked.granularity).place] == areas[place]
    assert areas[answer.at(1.0).place] == areas.max()


def test_the_first_mask_shown_is_the_surest_of_at_most_half_the_photograph():
    masks_QHW = np.zeros((4, 4, 4), dtype=bool)
    for place, rows in ((1, 1), (2, 2), (3, 3)):
        masks_QHW[place, :rows] = True
    masks = MaskSet.from_arrays(masks_QHW, score=[0.9, 0.1, 0.2, 0.8])
    assert shown_first(masks, has_box=False) == 2
    assert shown_first(masks, has_box=True) == 3
    assert shown_first(masks[[0, 3]], has_box=False) == 1, "the large one, as there is no other"
    assert shown_first(masks[[0]], has_box=False) == 0


def test_an_empty_mask_has_a_granularity_and_none_means_it():
    masks_QHW = np.zeros((2, 4, 4), dtype=bool)
    masks_QHW[1, 0] = True
    answer = Answer(MaskSet.from_arrays(masks_QHW, score=[0.9, 0.1]), False, 1, 0.0)
    assert answer.picked(0).granularity == 0.0 and answer.picked(1).granularity == 0.0
    assert answer.at(0.0).place == 1


def test_everything_is_cut_at_the_granularity(segmenter, opened):
    session = segmenter.with_everything(opened)
    masks = session.answer.masks
    assert len(masks) > 3
    assert session.answer.at(0.0).shown() == masks.at_theta(1.0)
    assert session.answer.at(1.0).shown() == masks.at_theta(0.0)


def test_the_slider_opens_masks_all_its_way_whatever_a_speck_is():
    """Seven masks each within the one before it, beside each a leaf; one leaf is a single pixel."""
    wholes_NHW = np.zeros((8, 256, 1), dtype=bool)
    for n in range(8):
        wholes_NHW[n, : 256 >> n] = True
    leaves_NHW = wholes_NHW[:-1] & ~wholes_NHW[1:]
    speck_1HW = np.zeros((1, 256, 1), dtype=bool)
    speck_1HW[0, 0] = True
    masks = MaskSet.from_arrays(
        np.concatenate([wholes_NHW, leaves_NHW, speck_1HW]),
        parent=[-1, *range(7), *range(7), 7],
        theta=[*np.linspace(0.0, 0.2, 8), *np.full(7, 0.3), 1.0],
    )
    answer = Answer(masks, True, 0, 0.5)
    shares = np.linspace(1, 0, 101)
    counts = [len(answer.at(share).shown()) for share in shares]
    assert counts[0] == 1 and counts[-1] == 8 and counts == sorted(counts)
    assert len(set(counts)) == 8, "each of them is opened by itself"
    assert counts[-10] < 8, "nor are they open long before the end of the slider"
    assert np.log(counts[50]) == pytest.approx(np.log(8) / 2, abs=np.log(1.5))


def test_tabs_at_the_same_time_do_not_mix(segmenter):
    images = [draw(seed, (40 + 4 * seed, 60)) for seed in range(4)]
    clicks = [Click(x, 2 * x, WANTED) for x in (5, 19, 11)]

    def use(image):
        session = segmenter.open(image, "")
        for click in clicks:
            session = segmenter.with_click(session, click)
        return session.answer.masks

    alone = [use(image) for image in images]
    together: dict[int, MaskSet] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: use(images[i])})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[i] for i in range(4)] == alone


# ---------------------------------------------------------------- pictures


def test_masks_at_another_size_keep_their_place():
    masks = MaskSet.from_arrays(np.array([[[1, 0, 0], [0, 0, 1]]]), score=[0.3])
    larger = resized_masks(masks, (4, 6))
    np.testing.assert_array_equal(larger.decode()[0], np.kron(masks.decode()[0], np.ones((2, 2))))
    assert resized_masks(larger, (2, 3)) == masks


def test_the_spotlight_is_as_the_photograph_inside_and_dark_outside():
    mask_HW = np.zeros((20, 20), dtype=bool)
    mask_HW[4:16, 4:16] = True
    lit = spotlight(np.full((20, 20, 3), 90, dtype=np.uint8), mask_HW, border_px=2)
    assert (lit[6:14, 6:14] == 90).all() and (lit[:4] == 30).all()
    assert (lit[4, 4:16] == ACCENT).all() and (lit[5, 4:16] == ACCENT).all()


def test_marks_lie_where_it_was_clicked(segmenter, opened):
    session = segmenter.with_click(opened, Click(10, 40, NOT_WANTED))
    session = segmenter.with_click(session, Click(60, 5, CORNER))
    picture = draw_tab(session)
    assert picture.shape == (731, 1024, 3)
    scale = 1024 / 70
    y, x = round(5.5 * scale), round(60.5 * scale)
    assert (picture[y, x] == COLOURS[CORNER]).all()
    y, x = round(40.5 * scale), round(10.5 * scale)
    assert (picture[y, x] == 255).all() and (picture[y + 5, x] == COLOURS[NOT_WANTED]).all()  # a minus


def test_six_masks_to_choose_from_and_none_of_everything(segmenter, opened):
    assert draw_choices(opened) == [] and draw_choices(segmenter.with_everything(opened)) == []
    choices = draw_choices(segmenter.with_click(opened, Click(33, 20, WANTED)))
    assert len(choices) == 6 and {choice.shape for choice in choices} == {(157, 220, 3)}


# ---------------------------------------------------------------- files


def test_coco_of_a_click_holds_the_chosen_mask(segmenter, opened, tmp_path):
    session = segmenter.with_click(opened, Click(33, 20, WANTED))
    answer = session.answer.picked(4)
    path = write_coco(session, answer, tmp_path)
    assert path.name == "a photograph.json"
    coco = COCO(path)
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    np.testing.assert_array_equal(coco.annToMask(annotation), answer.masks.decode()[4])
    assert annotation["score"] == pytest.approx(answer.masks.score[4], rel=1e-5)
    assert coco.imgs[1] == {"id": 1, "file_name": "a photograph.jpg", "height": 50, "width": 70}


def test_coco_of_everything_holds_all_masks_with_their_parents(segmenter, opened, tmp_path):
    session = segmenter.with_everything(opened)
    document = json.loads(write_coco(session, session.answer.at(1.0), tmp_path).read_text())
    masks = session.answer.masks
    assert [a["segmentation"]["counts"].encode() for a in document["annotations"]] == list(masks.rles)
    assert [a["parent"] for a in document["annotations"]] == [p + 1 for p in masks.parent]


def test_png_is_the_photograph_where_the_mask_is(segmenter, opened, tmp_path):
    session = segmenter.with_click(opened, Click(33, 20, WANTED))
    with PIL.Image.open(write_png(session, session.answer, tmp_path)) as picture:
        cut_HW4 = np.asarray(picture)
    np.testing.assert_array_equal(cut_HW4[:, :, 3] > 0, decode_mask(SIZE_HW, session.answer.shown().rles[0]))
    np.testing.assert_array_equal(cut_HW4[:, :, :3], opened.image)
    everything = segmenter.with_everything(opened)
    assert draw_result(opened.image, everything.answer).mode == "RGB"
    assert write_png(everything, everything.answer, tmp_path).name == "a photograph-masks.png"


def test_uploads_that_are_no_images_or_too_large_are_refused_by_name(tmp_path, monkeypatch):
    text = tmp_path / "letter.png"
    text.write_text("Dear reader")
    with pytest.raises(ImageError, match=r"^letter\.png is not an image that is read"):
        uploads.read_upload(text)
    good = tmp_path / "good.png"
    PIL.Image.fromarray(draw(0)).save(good)
    np.testing.assert_array_equal(uploads.read_upload(good), draw(0))
    monkeypatch.setattr(uploads, "MAX_MEGAPIXELS", 0)
    with pytest.raises(ImageError, match=r"^good\.png has 64x48 pixels, more than 0; shrink it first$"):
        uploads.read_upload(good)
    monkeypatch.setattr(uploads, "MAX_MEGABYTES", 0.0001)
    with pytest.raises(ImageError, match=r"^good\.png has 0\.\d MB, more than 0\.0001; shrink it first$"):
        uploads.read_upload(good)


# ---------------------------------------------------------------- the command


def test_without_a_checkpoint_it_says_how_to_train_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tools/train_net\.py --config-file .*promptable_tiny\.yaml"):
        tool.shipped_checkpoint(tmp_path)
    (tmp_path / "promptable_tiny.pth").touch()
    (tmp_path / "promptable_tiny.md").touch()
    assert tool.shipped_checkpoint(tmp_path).name == "promptable_tiny.pth"


def test_a_segmenter_of_a_checkpoint_takes_settings(tmp_path):
    checkpoint = write_promptable(tmp_path / "model.pth", model=decisive_model())
    automatic = ["points_per_side=3", "min_iou=0", "min_stability=0", "max_box_iou=1", "min_region_px=0"]
    segmenter = Segmenter.from_checkpoint(checkpoint, overrides=[f"automatic.{setting}" for setting in automatic])
    session = segmenter.open(draw(0, SIZE_HW), "")
    assert 0 < len(segmenter.with_everything(session).answer.masks) <= 9 * 6


def test_how_everything_is_asked_for_is_said_in_the_checkpoint(tmp_path):
    loose = AutomaticConfig(points_per_side=3, min_iou=0.0, min_stability=0.0, max_box_iou=1.0, min_region_px=0)
    model = decisive_model()
    config = TrainConfig(task="promptable", promptable=model.config, inference=INFERENCE, automatic=loose)
    write_promptable(tmp_path / "promptable.pth", config, model)
    save_recorded(model.state_dict(), to_plain(config), tmp_path / "promptable.safetensors")
    write_promptable(tmp_path / "silent.pth", model=model)
    found = {}
    for name in ("promptable.pth", "promptable.safetensors", "silent.pth"):
        segmenter = Segmenter.from_checkpoint(tmp_path / name, overrides=["automatic.points_per_side=3"])
        found[name] = len(segmenter.with_everything(segmenter.open(draw(0, SIZE_HW), "")).answer.masks)
    assert found["promptable.pth"] == found["promptable.safetensors"] > found["silent.pth"]


def test_without_gradio_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "training.demo.page", raising=False)
    assert tool.main([str(write_promptable(tmp_path / "model.pth"))]) == 2
    assert "pip install 'divide-and-conquer[demo]'" in capsys.readouterr().err

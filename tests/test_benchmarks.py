"""Benchmarks: their parts are right, their options work, and they run on a little data."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks import ablation, quality
from benchmarks.dev_sets import ANNOTATIONS, MissingDataError, by_photographs, data_folder, evenly_spaced, load_dev_set
from benchmarks.felzenszwalb import felzenszwalb_masks
from benchmarks.labelling import Job, RememberingExtractor, measuring_parser
from benchmarks.measure import best_time, figure, one_core, print_figures, with_peak
from benchmarks.photographs import photographs
from benchmarks.quality_report import recall_difference
from benchmarks.run_all import COLUMNS, find_scripts
from benchmarks.stage_loop import mask_set, select_by_loop, unrefined_by_loop
from benchmarks.stage_speed import describe_agreement, labeler, same_masks
from benchmarks.stages import STAGES, label_by_stages
from benchmarks.stand_in import StandInExtractor
from dico.config import PipelineConfig, load_config
from dico.ground_truth import AnnotatedImage
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.refine.base import Unrefined
from tests.conftest import draw

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = find_scripts()


def figures_of(output):
    loaded = json.loads(output.strip().splitlines()[-1])
    rows = loaded if isinstance(loaded, list) else [loaded]
    assert all(tuple(row) == COLUMNS for row in rows)
    return rows


def rectangles(*boxes_xyxy, size_hw=(20, 30), **fields):
    masks_NHW = np.zeros((len(boxes_xyxy), *size_hw), dtype=bool)
    for mask_HW, (x0, y0, x1, y1) in zip(masks_NHW, boxes_xyxy, strict=True):
        mask_HW[y0:y1, x0:x1] = True
    return MaskSet.from_arrays(masks_NHW, **fields)


def annotated(image_id, masks):
    return AnnotatedImage(image_id, f"{image_id}.png", masks.size_hw, tuple(masks.to_coco(image_id=image_id)))


# ---------------------------------------------------------------- every script


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    code = f"import sys, benchmarks.{name} as script; sys.exit(script.main(['--help']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0 and done.stdout.startswith("usage:") and not done.stderr


def test_every_benchmark_is_found_and_what_they_share_is_not():
    assert {"quality", "ablation", "stage_speed", "label_speed", "memory_24mp", "merging_speed"} <= set(SCRIPTS)
    assert not {"run_all", "measure", "dev_sets", "felzenszwalb", "stage_loop"} & set(SCRIPTS)


@pytest.mark.parametrize("script", [quality, ablation], ids=lambda script: script.__name__)
def test_without_data_a_benchmark_is_skipped(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DICO_DATA", str(tmp_path))
    assert script.main([]) == 77
    assert capsys.readouterr().out.startswith(f"skipped: needs photographs with human masks: no folder {tmp_path}")


# ---------------------------------------------------------------- figures and clocks


def test_a_ratio_says_how_many_times_better():
    assert figure("merging", 0.5, 60.0, "s")["ratio"] == 120
    assert figure("AR", 22.0, 11.0, "%", higher_is_better=True)["ratio"] == 2
    assert figure("AR", 22.0, None, "%", higher_is_better=True)["ratio"] is None
    assert figure("AR", 22.0, 0.0, "%", higher_is_better=True)["ratio"] is None
    assert tuple(figure("AR", 22.0, 11.0, "%")) == COLUMNS


def test_one_figure_is_an_object_and_several_are_a_list(capsys):
    row = figure("a", 1.0, 2.0, "s")
    print_figures([row])
    print_figures([row, row])
    one, two = map(json.loads, capsys.readouterr().out.splitlines())
    assert one == row and two == [row, row]


def test_the_best_time_is_that_of_the_fastest_run(monkeypatch):
    ticks = iter([0, 5, 10, 12, 20, 23])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    calls = []
    assert best_time(lambda: calls.append(1) or len(calls), 3) == (3, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a system that counts peaks anew")
def test_a_peak_is_counted_from_what_there_was():
    def fill(megabytes):
        return len(bytearray(b"x") * (megabytes * 1_000_000))

    assert fill(400)  # what there was once is nothing to what comes after it
    held = bytearray(b"x") * 50_000_000
    assert with_peak(lambda: 7)[0] == 7 and with_peak(lambda: 7)[1] < 0.02
    assert with_peak(lambda: fill(200))[1] == pytest.approx(0.2, abs=0.02)
    assert len(held)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs a system that binds processes")
def test_one_core_is_given_back():
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


# ---------------------------------------------------------------- data


def test_evenly_spaced():
    assert list(evenly_spaced(range(10), 4)) == [0, 3, 6, 9]
    assert list(evenly_spaced(range(3), 1)) == [0]
    assert list(evenly_spaced(range(3), None)) == list(evenly_spaced(range(3), 9)) == [0, 1, 2]


def test_missing_data_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DICO_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match=r"no folder .*dev; set DICO_DATA"):
        data_folder()


def test_dev_sets_have_their_photographs(dev_data):
    for name in ANNOTATIONS:
        dev_set = load_dev_set(name, 3)
        assert len(dev_set.images) == 3 and all(path.is_file() for path in dev_set.paths)
    sets = [load_dev_set(name, 5) for name in ("bsds_train", "smoke", "bsds_train_consensus")]
    assert [[one.name for one in group] for group in by_photographs(sets).values()] == [
        ["bsds_train", "bsds_train_consensus"],
        ["smoke"],
    ]


def test_options(capsys):
    parser = measuring_parser("Says.", sets=["parts"], limit=None)
    arguments = parser.parse_intermixed_args(["a.b=1", "--sets", "smoke,parts", "--limit", "2", "c.d=2"])
    assert (arguments.sets, arguments.limit, arguments.overrides) == (("smoke", "parts"), 2, ["a.b=1", "c.d=2"])
    assert parser.parse_intermixed_args([]).sets == ("parts",)
    for wrong, complaint in ((["--sets", "smok"], "no set smok; choose from"), (["--limit", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            parser.parse_intermixed_args(wrong)
        assert complaint in capsys.readouterr().err


def test_bundled_photographs_are_colour_images():
    found = photographs()
    assert len(found) == 10 and list(photographs(2)) == ["astronaut", "coffee"]
    assert all(image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 for image in found.values())
    with pytest.raises(ValueError, match=r"1\.\.10"):
        photographs(11)


# ---------------------------------------------------------------- quality


def test_the_reference_finds_what_is_drawn_once_and_first():
    image = np.full((60, 80, 3), 40, dtype=np.uint8)
    image[10:50, 20:60] = (220, 60, 60)
    image[20:30, 30:40] = (60, 60, 220)
    masks = felzenszwalb_masks(image)
    assert masks.size_hw == (60, 80) and (np.diff(masks.score) <= 0).all()
    assert (np.triu(masks.iou(), 1) <= 0.9).all()
    square_HW = (image == (220, 60, 60)).all(axis=2)
    assert masks[:2].iou(MaskSet.from_arrays(square_HW[None])).max() > 0.8


def test_the_difference_of_two_methods_is_paired():
    truths = [rectangles((0, 0, 10, 10), (12, 2, 28, 18)), rectangles((1, 1, 9, 19))]
    images = [annotated(i, masks) for i, masks in enumerate(truths, start=1)]
    half = [truths[0][[0]], truths[1]]
    gain = recall_difference(images, truths, half, max_masks=10, resamples=200)
    assert gain.points == pytest.approx(100 / 3)
    assert gain.interval == (0.0, pytest.approx(50.0))
    assert str(recall_difference(images, half, truths, max_masks=10, resamples=0)) == "-33.3"
    same = recall_difference(images, half, half, max_masks=10, resamples=50)
    assert (same.points, same.interval) == (0.0, (0.0, 0.0))
    only_best = recall_difference(images, truths, half, max_masks=1, resamples=0)
    assert only_best.points == 0 and math.isnan(only_best.interval[0])


def test_features_are_extracted_once_for_an_image():
    calls = []

    class Counting:
        def extract(self, images, *, size=None):
            calls.append(size)
            return [object()]

    extractor, image, copy = RememberingExtractor(Counting()), draw(0), draw(0)
    first = extractor.extract([image])
    assert extractor.extract([image]) is first and calls == [None]
    extractor.extract([image], size=8)
    extractor.extract([copy])
    extractor.extract([image])
    assert calls == [None, 8, None, None]


def test_a_job_gives_what_the_labeler_gives(tmp_path):
    path = tmp_path / "drawn.png"
    PIL.Image.fromarray(draw(1)).save(path)
    configs = tuple(load_config(overrides=[f"select.max_masks={n}"]) for n in (3, 40))
    few, many, reference = Job(configs, reference=True)(path)
    assert few == PseudoLabeler.from_config(configs[0])(path) and many == PseudoLabeler.from_config(configs[1])(path)
    assert reference == felzenszwalb_masks(draw(1))


def test_every_variation_is_a_configuration_of_its_own():
    configs = {name: load_config(overrides=changes) for name, changes in ablation.VARIATIONS.items()}
    assert configs.pop(ablation.DEFAULT) == PipelineConfig()
    assert len(set(configs.values())) == len(configs)


def test_quality_runs(dev_data, capsys):
    assert (
        quality.main(
            [
                "--sets",
                "smoke",
                "--limit",
                "1",
                "--workers",
                "1",
                "--resamples",
                "10",
                "--markdown",
                "refine.method=none",
            ]
        )
        == 0
    )
    output = capsys.readouterr().out
    rows = figures_of(output)
    assert [row["name"] for row in rows] == ["AR at 1000, smoke", "AR at 350, smoke", "AR at 100, smoke"]
    assert all(0 <= row["value"] <= 100 and row["reference"] > 0 for row in rows)
    assert rows[0]["value"] >= rows[1]["value"] >= rows[2]["value"] > 0
    assert "| smoke | dico, up to 350 masks | " in output


def test_ablation_runs(dev_data, capsys):
    only = ["--only", "one linkage", "divide without conquer", "--", "refine.method=none"]
    assert ablation.main(["--sets", "smoke", "--limit", "1", "--workers", "1", "--resamples", "0", *only]) == 0
    default, changed, nothing = figures_of(capsys.readouterr().out)
    assert default["reference"] is None and changed["reference"] == default["value"]
    assert nothing["value"] < default["value"]


# ---------------------------------------------------------------- speed

SMALL = load_config(
    REPOSITORY / "configs" / "dico" / "unsam.yaml",
    ["extractor.size=96", "conquer.crop_size=64", "divide.tau=0.3", "refine.method=none", "select.min_area_px=4"],
)


def test_stages_add_up_to_the_labeler():
    ours = PseudoLabeler.from_config()
    masks, seconds = label_by_stages(ours, draw(2))
    assert masks == ours(draw(2))
    assert tuple(seconds) == STAGES and min(seconds.values()) >= 0


@pytest.mark.parametrize("seed", range(3))
def test_the_loop_equals_the_labeler(seed):
    image, extractor = draw(seed, (96, 96)), StandInExtractor(64, 96)
    (features,) = extractor.extract([image])
    dense, seconds = unrefined_by_loop(image, features, extractor, SMALL)
    ours = labeler(SMALL, extractor, Unrefined())(image)
    assert len(ours) > 3
    assert same_masks(ours, select_by_loop(dense, SMALL.select, (96, 96)))
    assert set(seconds) == {"divide", "conquer"}


def test_sets_of_masks_that_differ_are_found():
    masks = rectangles((0, 0, 10, 10), (2, 2, 5, 5), score=[0.9, 0.5])
    assert same_masks(masks, masks.with_fields(score=masks.score + 1e-6))
    assert not same_masks(masks, masks[[1, 0]])
    assert not same_masks(masks, masks.with_fields(parent=[-1, 0]))
    assert not same_masks(masks, masks.with_fields(score=[0.9, 0.6]))


def test_agreement_compares_masks_of_one_name():
    ours = rectangles((0, 0, 10, 10), (10, 0, 20, 10), source=["a", "b"])
    theirs = rectangles((20, 0, 30, 10), (0, 0, 10, 5), source=["c", "a"])
    assert describe_agreement(ours, theirs) == "after refinement 2 / 2 survive, 1 in both with a mean IoU of 0.50"
    assert describe_agreement(ours[[1]], theirs) == "after refinement 1 / 2 survive, 0 in both"
    assert mask_set([], (4, 5)) == MaskSet.empty((4, 5))


def test_stand_in_features_look_like_those_of_a_transformer():
    (features,) = StandInExtractor(384, 480).extract([photographs(1)["astronaut"]])
    feats_hwC = features.feats_hwC
    assert feats_hwC.shape == (60, 60, 384) and features.size_hw == (512, 512)
    assert np.allclose(np.linalg.norm(feats_hwC, axis=2), 1, atol=1e-5)
    assert StandInExtractor(384, 480).extract([draw(0)], size=256)[0].feats_hwC.shape == (32, 32, 384)
    neighbours = (feats_hwC[:, 1:] * feats_hwC[:, :-1]).sum(axis=2)
    strangers = feats_hwC[:30] * feats_hwC[30:]
    assert np.median(neighbours) > 0.5 > abs(np.median(strangers.sum(axis=2)))

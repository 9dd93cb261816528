from __future__ import annotations

import json
import runpy
import shutil

import numpy as np
import pytest

from dico.image import load_image
from dico.job import LabelerJob
from dico.run import RunOptions, run
from dico.store import MaskStore
from tests.conftest import REPOSITORY, bright_labeler
from tests.test_run import shard_bytes, store_of
from tests.training.annotated import write_annotated, write_checkpoint
from training.data.coco_source import CocoSource
from training.data.sources import StoreSource
from training.fusion import fuse_with_human, self_training_round
from training.trained import load_trained

SMALL = ["inference.short_side=64", "inference.long_side=96"]
QUIET = RunOptions(show_progress=False)


@pytest.fixture(scope="module")
def self_train():
    return runpy.run_path(str(REPOSITORY / "tools" / "self_train.py"))["main"]


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "model.pth")


@pytest.fixture
def annotations(tmp_path):
    """People annotated five images, two of which are labelled later on."""
    return write_annotated(tmp_path)


@pytest.fixture
def labels(tmp_path, annotations):
    """A store of three drawn images and a broken one; two of the images have been annotated, too."""
    images = tmp_path / "labelled"
    images.mkdir()
    for name, copy in (("00.png", "00.png"), ("01.png", "01.png"), ("02.png", "unseen.png")):
        shutil.copy(tmp_path / "images" / name, images / copy)
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    store = store_of(images, tmp_path / "labels")
    run(LabelerJob(bright_labeler), store, QUIET)
    return store


@pytest.fixture
def sure(checkpoint, labels):
    """A score that half of the model's masks of an image exceed."""
    predictions = load_trained(checkpoint, overrides=SMALL).predict(load_image(labels.image_path("00.png")))
    return float(np.median(predictions.score).round(3))


def test_a_round_is_sure_predictions_and_the_labels_of_the_rest(tmp_path, checkpoint, labels, sure, self_train, capsys):
    output = tmp_path / "next"
    command = ["round", str(checkpoint), str(labels.path), str(output), *SMALL, "--min-score", str(sure)]
    assert self_train(command) == 1
    told = capsys.readouterr().err
    assert "self_train: 3 of 4 images labelled" in told and "1 image failed (1 decode in this run)" in told
    trained = load_trained(checkpoint, overrides=SMALL)
    before = {row.path: row.masks for row in labels}
    after = {row.path: row.masks for row in MaskStore.open(output) if row.masks is not None}
    assert after == {
        path: self_training_round(trained.predict(load_image(labels.image_path(path))), before[path], min_score=sure)
        for path in ("00.png", "01.png", "unseen.png")
    }
    sources = {name for masks in after.values() for name in masks.source}
    assert len(sources) == 2 and "bright" in sources  # both had a say
    assert [failure.path for failure in MaskStore.open(output).failures()] == ["broken.png"]


def test_human_masks_come_first(tmp_path, annotations, labels, self_train, capsys):
    output = tmp_path / "plus"
    assert self_train(["human", str(annotations), str(labels.path), str(output), "--max-iou", "0.3"]) == 1
    assert "self_train: people annotated 2 of 4 images" in capsys.readouterr().err
    before = {row.path: row.masks for row in labels}
    after = {row.path: row.masks for row in MaskStore.open(output) if row.masks is not None}
    drawn = {record.path.name: record.read_masks() for record in CocoSource(annotations)}
    assert after["unseen.png"] == before["unseen.png"]
    for path in ("00.png", "01.png"):
        human = drawn[path].with_fields(source=("human",) * len(drawn[path]))
        assert after[path] == fuse_with_human(human, before[path], max_iou=0.3)
        assert after[path].source[0] == "human"


def test_the_output_trains_like_any_other_store(tmp_path, annotations, labels, self_train):
    output = tmp_path / "plus"
    assert self_train(["human", str(annotations), str(labels.path), str(output), "--quiet"]) == 1
    assert not MaskStore.open(output).verify().problems
    source = StoreSource(output)
    assert [record.key for record in source] == ["00.png", "01.png", "unseen.png"]
    assert all(len(record.read_masks()) and record.path.is_file() for record in source)


def test_it_goes_on_where_it_stopped(tmp_path, checkpoint, labels, self_train):
    command = ["round", str(checkpoint), str(labels.path), *SMALL, "--quiet"]
    assert self_train([*command[:3], str(tmp_path / "a"), *command[3:], "--limit", "2"]) == 0
    assert MaskStore.open(tmp_path / "a").status().pending == 2
    assert self_train([*command[:3], str(tmp_path / "a"), *command[3:]]) == 1
    assert self_train([*command[:3], str(tmp_path / "b"), *command[3:]]) == 1
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")


def test_other_limits_labels_and_models_are_other_jobs(tmp_path, checkpoint, labels, self_train, capsys):
    command = [str(labels.path), str(tmp_path / "a"), *SMALL]
    assert self_train(["round", str(checkpoint), *command]) == 1
    before = shard_bytes(tmp_path / "a")
    other = write_checkpoint(tmp_path / "other.pth", seed=1)
    capsys.readouterr()
    assert self_train(["round", str(other), *command]) == 2
    assert "checkpoint_sha256" in capsys.readouterr().err
    assert self_train(["round", str(checkpoint), *command, "--max-iou", "0.4"]) == 2
    assert "self_training.max_iou: 0.5 in the store, 0.4 now" in capsys.readouterr().err
    shutil.copy(labels.image_path("00.png"), labels.image_path("broken.png"))
    relabelled = store_of(tmp_path / "labelled", tmp_path / "labels2")
    run(LabelerJob(bright_labeler), relabelled, QUIET)
    assert self_train(["round", str(checkpoint), str(relabelled.path), *command[1:]]) == 2
    assert "labels.sha256" in capsys.readouterr().err
    assert shard_bytes(tmp_path / "a") == before


def test_masks_of_another_size_than_the_image_are_a_failure_of_that_image(tmp_path, annotations, labels, self_train):
    content = json.loads(annotations.read_text())
    content["annotations"] = [
        {**one, "segmentation": [[1, 1, 9, 1, 9, 9]]} for one in content["annotations"] if one["image_id"] == 100
    ]
    content["images"] = [{**image, "width": 30} if image["id"] == 100 else image for image in content["images"]]
    annotations.write_text(json.dumps(content))
    assert self_train(["human", str(annotations), str(labels.path), str(tmp_path / "a"), "--quiet"]) == 1
    failures = {failure.path: failure.error for failure in MaskStore.open(tmp_path / "a").failures()}
    assert failures.keys() == {"00.png", "broken.png"}
    assert "one image size, got (48, 64) and (48, 30)" in failures["00.png"]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["round", "nowhere.pth", "{labels}", "{output}"], "nowhere.pth: there is no such file or folder"),
        (["round", "{checkpoint}", "nowhere", "{output}"], "nowhere is not a store"),
        (["round", "{checkpoint}", "{labels}", "{labels}"], "OUTPUT must be another folder than STORE"),
        (["round", "{checkpoint}", "{labels}", "{output}", "optim.lr=1"], "must be of the section inference"),
        (["round", "{checkpoint}", "{labels}", "{output}", "--min-score", "70"], "min_score"),
        (["round", "{checkpoint}", "{labels}", "{output}", "--max-iou", "2"], "max_iou must be within [0, 1], got 2"),
        (["round", "{checkpoint}", "{labels}", "{output}", "--num-workers=2", "--device=mps"], "are for --device cpu"),
        (["human", "nowhere.json", "{labels}", "{output}"], "nowhere.json: No such file"),
        (["human", "{annotations}", "{labels}", "{output}", "--max-iou", "2"], "max_iou must be within [0, 1]"),
        (["human", "{annotations}", "{labels}", "{output}", "--device", "cpu"], "unrecognized arguments"),
        (["{labels}"], "invalid choice"),
    ],
)
def test_wrong_usage_leaves_nothing(tmp_path, checkpoint, annotations, labels, self_train, capsys, command, complaint):
    names = {"checkpoint": checkpoint, "annotations": annotations, "labels": labels.path, "output": tmp_path / "a"}
    before = shard_bytes(labels.path)
    assert self_train([word.format(**names) for word in command]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "a").exists() and shard_bytes(labels.path) == before


def test_labels_that_are_not_complete_are_refused(tmp_path, checkpoint, labels, self_train, capsys):
    half = store_of(tmp_path / "labelled", tmp_path / "half")
    run(LabelerJob(bright_labeler), half, RunOptions(limit=1, show_progress=False))
    assert self_train(["round", str(checkpoint), str(half.path), str(tmp_path / "a")]) == 2
    assert "half is not complete, 3 images are to do: go on with what makes it" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_annotations_of_other_images_are_refused(tmp_path, annotations, labels, self_train, capsys):
    content = json.loads(annotations.read_text())
    content["images"] = [{**image, "file_name": f"other{image['file_name']}"} for image in content["images"]]
    annotations.write_text(json.dumps(content))
    assert self_train(["human", str(annotations), str(labels.path), str(tmp_path / "a")]) == 2
    assert "no labelled image is among the" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["round", "human"])
def test_processes_write_the_same_store(tmp_path, checkpoint, annotations, labels, self_train, name):
    command = [name, str(checkpoint if name == "round" else annotations), str(labels.path)]
    assert self_train([*command, str(tmp_path / "a"), "--quiet"]) == 1
    assert self_train([*command, str(tmp_path / "b"), "--quiet", "--num-workers", "2"]) == 1
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")

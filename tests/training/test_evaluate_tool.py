from __future__ import annotations

import json
import runpy

import pytest
import torch

from dico.cli import main as dico
from dico.evaluate import evaluate_store
from dico.store import MaskStore
from tests.conftest import REPOSITORY
from tests.training.annotated import write_annotated, write_checkpoint
from tests.training.asked import write_promptable
from tests.training.panoptic import write_panoptic
from training.data.catalog import open_source
from training.evaluation.point_iou import PointEvaluator
from training.prompt_predictor import PromptPredictor

SMALL = ["inference.short_side=64", "inference.long_side=96"]
ABSENT = "cuda" if torch.backends.mps.is_available() else "mps"  # no machine has both


@pytest.fixture(scope="module")
def evaluate():
    return runpy.run_path(str(REPOSITORY / "tools" / "evaluate.py"))["main"]


@pytest.fixture
def annotations(tmp_path):
    return write_annotated(tmp_path / "drawn")


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "model.pth")


def test_a_checkpoint_and_the_store_that_it_wrote_have_equal_figures(
    tmp_path, annotations, checkpoint, evaluate, capsys
):
    predict = runpy.run_path(str(REPOSITORY / "tools" / "predict.py"))["main"]
    store = tmp_path / "store"
    assert predict([str(checkpoint), str(annotations.parent / "images"), str(store), *SMALL, "--quiet"]) == 0
    capsys.readouterr()
    figures = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    budgets = ["--max-dets", "100,350,1000"]
    asked = [str(annotations), "--checkpoint", str(checkpoint), *SMALL, *budgets, "--output", str(figures[0])]
    assert evaluate(asked) == 0
    table = capsys.readouterr().out
    assert evaluate([str(annotations), "--store", str(store), *budgets, "--output", str(figures[1])]) == 0
    assert capsys.readouterr().out == table and table.startswith("drawn: 5 images; ")
    assert dico(["eval", str(store), "--gt", str(annotations), "--json", str(figures[2])]) == 0
    one, two, reference = (json.loads(path.read_text()) for path in figures)
    assert one == two == {"name": "drawn", "task": "coco", **reference}
    assert one["budgets"][0]["ar"] > 0


def test_some_images_of_a_store(tmp_path, annotations, evaluate, image_folder):
    assert dico(["label", str(annotations.parent / "images"), str(tmp_path / "labels"), "--quiet"]) == 0
    output = tmp_path / "figures.json"
    command = [str(annotations), "--store", str(tmp_path / "labels"), "--images", "2", "--output", str(output)]
    assert evaluate(command) == 0
    found = json.loads(output.read_text())
    assert found["n_images"] == 2
    whole = evaluate_store(MaskStore.open(tmp_path / "labels"), annotations, max_dets=(100, 1000))
    assert whole.n_images == 5 and found["n_truths"] < whole.n_truths


def test_a_data_set_by_its_name(tmp_path, annotations, checkpoint, evaluate, monkeypatch, capsys):
    (tmp_path / "datasets").mkdir()
    described = "{format: coco, annotations: ../drawn/annotations.json, name: sketches}"
    (tmp_path / "datasets" / "sketches.yaml").write_text(described)
    monkeypatch.chdir(tmp_path)
    assert evaluate(["sketches", "--checkpoint", str(checkpoint), *SMALL]) == 0
    assert capsys.readouterr().out.startswith("sketches: 5 images; ")
    assert evaluate([str(tmp_path / "labels"), "--checkpoint", str(checkpoint)]) == 2
    assert dico(["label", str(annotations.parent / "images"), str(tmp_path / "labels"), "--quiet"]) == 0
    capsys.readouterr()
    assert evaluate([str(tmp_path / "labels"), "--checkpoint", str(checkpoint)]) == 2
    assert "must be in COCO's format" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ([], "one of the arguments --checkpoint --store is required"),
        (["--checkpoint", "nowhere.pth"], "nowhere.pth: there is no such file or folder"),
        (["--store", "nowhere"], "nowhere"),
        (["--store", "nowhere", "inference.max_masks=1"], "overrides are for --checkpoint"),
        (["--checkpoint", "nowhere.pth", "--max-dets", "0"], "must be a whole number of at least 1"),
        (["--checkpoint", "nowhere.pth", "--images-root", "nowhere"], "5 of 5 images of"),
        (["--checkpoint", "nowhere.pth", "--device", "gpu"], "device must be auto, cpu, cuda or mps, got 'gpu'"),
        (["--checkpoint", "nowhere.pth", "--device", ABSENT], f"device={ABSENT} is not to be had here"),
    ],
)
def test_wrong_usage(tmp_path, annotations, evaluate, capsys, more, complaint):
    output = tmp_path / "figures.json"
    assert evaluate([str(annotations), *more, "--output", str(output)]) == 2
    assert complaint in capsys.readouterr().err and not output.exists()


LOOSE = ["automatic.points_per_side=3", "automatic.min_iou=0", "automatic.min_stability=0", "automatic.max_box_iou=1"]


@pytest.fixture
def promptable(tmp_path):
    return write_promptable(tmp_path / "clicks.pth")


def test_clicks_on_a_data_set(tmp_path, annotations, promptable, evaluate, capsys):
    output = tmp_path / "figures.json"
    command = [str(annotations), "--task", "point", "--output", str(output), "--images", "3"]
    assert evaluate([*command, "--checkpoint", str(promptable), "--clicks", "2", "inference.short_side=80"]) == 0
    told = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert told.startswith("drawn: 3 images; 9 ground truths") and found["task"] == "point" and found["name"] == "drawn"
    assert 0 < found["max_iou"]["mean"] <= found["oracle_iou"]["mean"] and found["most_clicks"] == 2
    assert [one["threshold"] for one in found["clicks"]] == [0.8, 0.85, 0.9]
    evaluator = PointEvaluator(open_source(str(annotations)), images=3, most_clicks=2, name="drawn")
    predictor = PromptPredictor.from_checkpoint(promptable, overrides=["inference.short_side=80"])
    assert evaluator.report(evaluator.predictions(predictor)).table() + "\n" == told


def test_clicks_on_panoptic_annotations_elsewhere(tmp_path, promptable, evaluate, capsys):
    path = write_panoptic(tmp_path / "a", images="photos")
    command = [str(path), "--task", "point", "--checkpoint", str(promptable), "--clicks", "1"]
    assert evaluate(command) == 2
    assert "3 of 3 images of" in capsys.readouterr().err
    assert evaluate([*command, "--images-root", str(tmp_path / "a" / "photos"), "inference.short_side=80"]) == 0
    assert capsys.readouterr().out.startswith("annotations/panoptic_val2017: 3 images; 6 ground truths")


def test_labels_that_are_clicked(tmp_path, annotations, evaluate, capsys):
    assert dico(["label", str(annotations.parent / "images"), str(tmp_path / "labels"), "--quiet"]) == 0
    capsys.readouterr()
    assert evaluate([str(annotations), "--task", "point", "--store", str(tmp_path / "labels")]) == 0
    assert "Oracle IoU" in capsys.readouterr().out


def test_automatic_masks_are_measured_as_any_others(tmp_path, annotations, promptable, evaluate, capsys):
    predict = runpy.run_path(str(REPOSITORY / "tools" / "predict.py"))["main"]
    store, settings = tmp_path / "store", [*LOOSE, "inference.short_side=80"]
    assert predict([str(promptable), str(annotations.parent / "images"), str(store), *settings, "--quiet"]) == 0
    assert MaskStore.open(store).manifest.config["automatic"]["points_per_side"] == 3
    assert evaluate([str(annotations), "--checkpoint", str(promptable), *settings]) == 0
    table = capsys.readouterr().out
    assert evaluate([str(annotations), "--store", str(store)]) == 0
    assert capsys.readouterr().out == table and "drawn: 5 images; 0.0 masks" not in table


def test_a_whole_image_model_cannot_be_clicked(annotations, checkpoint, evaluate, capsys):
    assert evaluate([str(annotations), "--task", "point", "--checkpoint", str(checkpoint)]) == 2
    assert "does not say that it is a promptable model" in capsys.readouterr().err
    assert evaluate([str(annotations), "--task", "point", "--store", "nowhere", "inference.short_side=3"]) == 2
    assert "overrides are for --checkpoint" in capsys.readouterr().err

from __future__ import annotations

import hashlib
import json
import runpy
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from dico.cli import main as dico
from dico.evaluate import evaluate_store
from dico.ground_truth import load_annotations
from dico.store import MaskStore
from tests.conftest import REPOSITORY
from tests.training.annotated import write_annotated, write_checkpoint
from tests.training.asked import write_promptable
from tests.training.panoptic import write_panoptic
from tests.waiting import wait_for
from training.data.catalog import open_source
from training.evaluation.point_iou import PointEvaluator
from training.prompt_predictor import PromptPredictor

TOOL = REPOSITORY / "tools" / "evaluate.py"
SMALL = ["inference.short_side=64", "inference.long_side=96"]
ABSENT = "cuda" if torch.backends.mps.is_available() else "mps"  # no machine has both


@pytest.fixture(scope="module")
def evaluate():
    return runpy.run_path(str(TOOL))["main"]


@pytest.fixture
def annotations(tmp_path):
    return write_annotated(tmp_path / "drawn")


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "model.pth")


@pytest.fixture
def labels(tmp_path, annotations):
    """Labels of the drawn images that dico label makes."""
    assert dico(["label", str(annotations.parent / "images"), str(tmp_path / "labels"), "--quiet"]) == 0
    return tmp_path / "labels"


def report_in(folder):
    """The report without its times."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert set(report.pop("seconds")) == {one["name"] for one in report["sets"]}
    return report


def results_of_store(store, annotations, path):
    """A results file of a store's masks."""
    ids = {image.file_name: image.image_id for image in load_annotations(annotations)}
    entries = [one for row in MaskStore.open(store) for one in row.masks.to_coco(image_id=ids[row.path])]
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_a_model_its_store_and_its_results_file_have_equal_figures(tmp_path, annotations, checkpoint, evaluate, capsys):
    predict = runpy.run_path(str(REPOSITORY / "tools" / "predict.py"))["main"]
    store = tmp_path / "store"
    assert predict([str(checkpoint), str(annotations.parent / "images"), str(store), *SMALL, "--quiet"]) == 0
    capsys.readouterr()
    command = ["--datasets", str(annotations), "--max-dets", "100,350,1000", "--verify"]
    outputs = [tmp_path / name for name in "abc"]
    assert evaluate([*command, *SMALL, "--model", str(checkpoint), "--output", str(outputs[0])]) == 0
    table = capsys.readouterr().out
    assert table.startswith("drawn: 5 images; ") and "found the same figures on all data sets" in table
    assert evaluate([*command, "--store", str(store), "--output", str(outputs[1])]) == 0
    results = results_of_store(store, annotations, tmp_path / "results.json")
    assert evaluate([*command, "--predictions", str(results), "--output", str(outputs[2]), "--processes", "2"]) == 0
    reports = [report_in(output) for output in outputs]
    assert [report.pop("subject") for report in reports] == [
        f"model {checkpoint}",
        f"store {store}",
        f"predictions {results}",
    ]
    asked = [report.pop("asked")["drawn"] for report in reports]
    digests = {"checkpoint_sha256": checkpoint, "results_sha256": results}
    assert [one["subject"].get(name) for one, name in zip(asked[::2], digests, strict=True)] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in digests.values()
    ]
    assert {one["annotations"] for one in asked} == {hashlib.sha256(annotations.read_bytes()).hexdigest()}
    assert reports[0] == reports[1] == reports[2]
    (of_set,) = reports[0]["sets"]
    assert dico(["eval", str(store), "--gt", str(annotations), "--json", str(tmp_path / "d.json")]) == 0
    assert of_set["figures"] == json.loads((tmp_path / "d.json").read_text()) and of_set["figures"]["n_images"] == 5
    assert of_set["figures"]["budgets"][0]["ar"] > 0 and len(of_set["worst"]) == 5
    assert "drawn" in (outputs[0] / "report.md").read_text() and "<html" in (outputs[0] / "report.html").read_text()


def test_the_number_of_processes_changes_nothing(tmp_path, annotations, labels, evaluate):
    command = ["--datasets", str(annotations), "--store", str(labels)]
    for processes in ("1", "2"):
        assert evaluate([*command, "--output", str(tmp_path / processes), "--processes", processes]) == 0
    assert report_in(tmp_path / "1") == report_in(tmp_path / "2")


def write_many(folder, count):
    """Annotations of images that nobody has, and a results file that finds about half of what is in them."""
    rng = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for image_id in range(1, count + 1):
        images.append({"id": image_id, "file_name": f"{image_id}.jpg", "height": 40, "width": 60})
        for _ in range(3):
            x, y = rng.integers(0, 30, 2).tolist()
            box = [[x, y, x + 20, y, x + 20, y + 9, x, y + 9]]
            shift = int(rng.integers(0, 6))
            found = {"size": [40, 60], "counts": [(x + shift) * 40 + y, 9, *([31, 9] * 19)]}
            found["counts"].append(2400 - sum(found["counts"]))
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "segmentation": box})
            results.append({"image_id": image_id, "segmentation": found, "score": float(rng.random())})
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (folder / "results.json").write_text(json.dumps(results))
    return ["--datasets", str(folder / "annotations.json"), "--predictions", str(folder / "results.json")]


def test_an_evaluation_that_is_killed_and_interrupted_goes_on(tmp_path, evaluate):
    """Killed, resumed and interrupted, resumed: the report is that of one run, and no image was done twice."""
    command = [*write_many(tmp_path / "many", 1500), "--max-dets", "10"]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert evaluate([*command, "--output", str(whole), "--processes", "1"]) == 0
    assert 20 < report_in(whole)["sets"][0]["figures"]["budgets"][-1]["ar"] < 80
    size = (whole / "many" / "images.journal").stat().st_size
    journal = halves / "many" / "images.journal"
    told = []
    for stop, share, more in ((signal.SIGKILL, 0.1, ["2"]), (signal.SIGINT, 0.4, ["1", "--resume"])):
        process = subprocess.Popen(
            [sys.executable, str(TOOL), *command, "--output", str(halves), "--processes", *more],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda enough=share * size: journal.is_file() and journal.stat().st_size > enough)
        process.send_signal(stop)
        told.append(process.communicate()[1])
        assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
        assert journal.stat().st_size < 0.9 * size and not (halves / "report.json").exists()
    assert "the same command with --resume goes on from here" in told[1]
    assert evaluate([*command, "--output", str(halves), "--resume", "--processes", "2"]) == 0
    assert report_in(halves) == report_in(whole)
    assert abs(journal.stat().st_size - size) < 0.02 * size  # as many results, whose times differ


def test_a_torn_journal_is_mended(tmp_path, annotations, labels, evaluate):
    command = ["--datasets", str(annotations), "--store", str(labels), "--processes", "1", "--output"]
    assert evaluate([*command, str(tmp_path / "a")]) == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    journal = tmp_path / "b" / "drawn" / "images.journal"
    with open(journal, "r+b") as stream:
        stream.truncate(journal.stat().st_size - 9)
    (tmp_path / "b" / "report.json").unlink()
    assert evaluate([*command, str(tmp_path / "b"), "--resume"]) == 0
    assert report_in(tmp_path / "b") == report_in(tmp_path / "a")


def test_another_evaluation_is_not_gone_on_with(tmp_path, annotations, labels, evaluate, capsys):
    command = [
        "--datasets",
        str(annotations),
        "--store",
        str(labels),
        "--processes",
        "1",
        "--output",
        str(tmp_path / "a"),
    ]
    assert evaluate(command) == 0
    before = json.loads((tmp_path / "a" / "report.json").read_text())["sets"]
    assert evaluate(command) == 2
    assert "must be a new or an empty folder; --resume goes on" in capsys.readouterr().err
    assert evaluate([*command, "--resume", "--images", "2"]) == 2
    assert "is about another evaluation (images: 0 in the journal, 2 now); ask for the same" in capsys.readouterr().err
    assert evaluate([*command, "--resume", "--max-dets", "5,1000"]) == 0  # nothing that was kept depends on it
    annotations.write_text(annotations.read_text() + " ")
    assert evaluate([*command, "--resume"]) == 2
    assert "(annotations: " in capsys.readouterr().err
    (tmp_path / "a" / "drawn" / "images.journal").write_text("no journal")
    assert evaluate([*command, "--resume"]) == 0
    assert json.loads((tmp_path / "a" / "report.json").read_text())["sets"] == before  # measured anew


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """A working folder where data sets are described; one is there, one is not, and one has too few images."""
    monkeypatch.delenv("DICO_DATASETS", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "datasets"
    folder.mkdir()
    there = "format: coco\nannotations: ../drawn/annotations.json\nnotes: [Drawn by a machine.]\ntitle: Drawings\n"
    (folder / "there.yaml").write_text(there)
    (folder / "half.yaml").write_text(there.replace("title", "prepare: draw one more\nexpected_images: 6\ntitle"))
    (folder / "absent.yaml").write_text("format: coco\nannotations: absent.json\nprepare: python datasets/draw.py\n")
    (folder / "unset.yaml").write_text("format: coco\nannotations: ${DICO_DATASETS}/a.json\nprepare: fetch a\n")
    (folder / "all.yaml").write_text("suite: [absent, there, half, unset]\n")
    return folder


def test_what_is_not_there_is_skipped_with_what_prepares_it(tmp_path, annotations, labels, datasets, evaluate, capsys):
    command = ["--store", str(labels), "--processes", "1", "--datasets"]
    assert evaluate([*command, "all", "--output", str(tmp_path / "a")]) == 1
    told = capsys.readouterr()
    report = report_in(tmp_path / "a")
    assert [one["name"] for one in report["sets"]] == ["there"] and report["sets"][0]["title"] == "Drawings"
    assert report["sets"][0]["notes"] == ["Drawn by a machine."]
    skipped = {one["name"]: one for one in report["skipped"]}
    assert list(skipped) == ["absent", "half", "unset"]
    assert "does not exist" in skipped["absent"]["reason"] and skipped["absent"]["command"] == "python datasets/draw.py"
    assert "has 5 of 6 images: it was prepared by half; for figures on these alone" in skipped["half"]["reason"]
    assert "DICO_DATASETS, which is not set" in skipped["unset"]["reason"]
    assert "absent was skipped: " in told.err and "\n    python datasets/draw.py\n" in told.err
    assert "draw one more" in (tmp_path / "a" / "report.md").read_text()
    assert evaluate([*command, "absent", "half", "--output", str(tmp_path / "b")]) == 2
    told = capsys.readouterr().err
    assert "none of the data sets can be evaluated:" in told and "draw one more" in told
    assert not (tmp_path / "b" / "report.json").exists()
    assert evaluate([*command, "there", "nowhere", "--output", str(tmp_path / "b")]) == 2
    assert "no data set has the name 'nowhere'" in capsys.readouterr().err


def test_a_model_needs_the_images(tmp_path, annotations, checkpoint, datasets, evaluate, capsys):
    (annotations.parent / "images" / "03.png").unlink()
    command = ["--model", str(checkpoint), *SMALL, "--output", str(tmp_path / "a"), "--datasets", "there"]
    assert evaluate(command) == 2
    assert "1 of 5 images are not in" in (told := capsys.readouterr().err) and "such as 03.png; a YAML" in told
    assert evaluate([*command, "--images", "1"]) == 0
    assert "drawn: 1 images" not in capsys.readouterr().out
    assert report_in(tmp_path / "a")["sets"][0]["all_images"] == 5


def test_images_that_annotations_name_by_whole_paths(tmp_path, annotations, checkpoint, evaluate, capsys):
    content = json.loads(annotations.read_text())
    for image in content["images"]:
        image["file_name"] = f"/elsewhere/{image['file_name']}"
    annotations.write_text(json.dumps(content))
    command = ["--model", str(checkpoint), *SMALL, "--output", str(tmp_path / "a"), "--datasets", str(annotations)]
    assert evaluate(command) == 2
    assert "5 of 5 images are not in" in (told := capsys.readouterr().err) and "such as /elsewhere/" in told


def test_labels_and_predictions_by_the_names_of_data_sets(tmp_path, annotations, labels, datasets, evaluate, capsys):
    (tmp_path / "stores").mkdir()
    (datasets / "more.yaml").write_text((datasets / "there.yaml").read_text())
    labels.rename(tmp_path / "stores" / "there")
    command = ["--processes", "1", "--datasets", "there", "more"]
    assert evaluate([*command, "--store", str(tmp_path / "stores"), "--output", str(tmp_path / "a")]) == 1
    assert f"dico label IMAGES {tmp_path / 'stores' / 'more'}" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    results_of_store(tmp_path / "stores" / "there", annotations, tmp_path / "results" / "there.json")
    assert evaluate([*command, "--predictions", str(tmp_path / "results"), "--output", str(tmp_path / "b")]) == 1
    assert "has no results file more.json" in capsys.readouterr().err
    one, two = report_in(tmp_path / "a")["sets"], report_in(tmp_path / "b")["sets"]
    assert one == two and [of_set["name"] for of_set in one] == ["there"]


def test_labels_that_are_missing(tmp_path, annotations, image_folder, evaluate, capsys, caplog):
    """Of some images they count as none, and it is said; of all images they are an error."""
    images = annotations.parent / "images"
    (images / "00.png").rename(tmp_path / "kept.png")
    assert dico(["label", str(images), str(tmp_path / "fewer"), "--quiet"]) == 0
    (tmp_path / "kept.png").rename(images / "00.png")
    command = ["--datasets", str(annotations), "--processes", "1", "--output"]
    assert evaluate([*command, str(tmp_path / "a"), "--store", str(tmp_path / "fewer")]) == 1
    (of_set,) = report_in(tmp_path / "a")["sets"]
    assert of_set["unanswered"] == 1 and of_set["figures"]["n_unlabelled"] == 1
    expected = evaluate_store(MaskStore.open(tmp_path / "fewer"), annotations, max_dets=(10, 100, 1000)).to_dict()
    assert of_set["figures"] == expected and expected["n_truths"] == 15
    unanswered = tmp_path / "a" / "drawn" / "unanswered.txt"
    assert unanswered.read_text() == "00.png: nothing is known of it\n" and str(unanswered) in caplog.text
    assert dico(["label", str(image_folder(2)), str(tmp_path / "others"), "--quiet"]) == 0
    capsys.readouterr()
    assert evaluate([*command, str(tmp_path / "b"), "--store", str(tmp_path / "others")]) == 2
    assert "no labelled image is among the 5 that are to be evaluated" in capsys.readouterr().err


def test_where_nothing_is_found_the_way_out_is_told(tmp_path, annotations, evaluate, caplog):
    images, labels = str(annotations.parent / "images"), str(tmp_path / "none")
    nothing = ["divide.max_masks=0", "conquer.whole_image=none", "refine.method=none"]
    assert dico(["label", images, labels, "--quiet", *nothing]) == 0
    command = ["--datasets", str(annotations), "--processes", "1", "--store", labels, "--output", str(tmp_path / "a")]
    assert evaluate(command) == 0
    assert "not one mask was found; if a promptable model was asked, lower automatic.min_iou" in caplog.text


def test_a_bad_image_never_ends_the_others(tmp_path, annotations, checkpoint, evaluate):
    content = json.loads(annotations.read_text())
    (annotations.parent / "images" / "00.png").write_bytes(b"no image")
    content["images"][1]["height"] += 1
    for annotation in content["annotations"]:
        if annotation["image_id"] in (99, 98):
            annotation["segmentation"] = [[1, 1, 9, 1, 9, 9]]
    next(one for one in content["annotations"] if one["image_id"] == 98)["segmentation"] = {
        "size": [33, 70],
        "counts": "~",
    }
    annotations.write_text(json.dumps(content))
    command = ["--datasets", str(annotations), "--model", str(checkpoint), *SMALL, "--output", str(tmp_path / "a")]
    assert evaluate(command) == 1
    (of_set,) = report_in(tmp_path / "a")["sets"]
    assert (of_set["unanswered"], of_set["left_out"], of_set["figures"]["n_images"]) == (2, 1, 4)
    assert of_set["figures"]["n_truths"] == 12  # those of 98 cannot be read
    assert "- 1 image is left out: the ground truth cannot be read." in (tmp_path / "a" / "report.md").read_text()
    faults = (tmp_path / "a" / "drawn" / "unanswered.txt").read_text().splitlines()
    assert [fault.partition(": ")[0] for fault in faults] == ["02.png", "01.png", "00.png"]
    assert "rle must be" in faults[0] and "has (60, 40) pixels" in faults[1] and "is not an image" in faults[2]
    assert len(of_set["worst"]) == 2  # of those that were answered
    # What was not answered is tried again.
    shutil.copy(annotations.parent / "images" / "04.png", annotations.parent / "images" / "00.png")
    assert evaluate([*command, "--resume"]) == 1
    (of_set,) = report_in(tmp_path / "a")["sets"]
    assert (of_set["unanswered"], of_set["left_out"]) == (1, 1)
    faults = (tmp_path / "a" / "drawn" / "unanswered.txt").read_text().splitlines()
    assert [fault.partition(": ")[0] for fault in faults] == ["02.png", "01.png"]


def test_settings_may_follow_the_names_of_data_sets(tmp_path, annotations, checkpoint, evaluate, capsys, monkeypatch):
    twin = shutil.copytree(annotations.parent, tmp_path / "twin") / "annotations.json"
    command = ["--model", str(checkpoint), *SMALL, "--output"]
    behind = ["--datasets", str(annotations), str(twin), "inference.zooms=[1]", "inference.max_masks=2"]
    assert evaluate([*command, str(tmp_path / "a"), *behind]) == 0
    before = [*command, str(tmp_path / "b"), "inference.zooms=[1]", "inference.max_masks=2", *behind[:3]]
    assert evaluate(before) == 0
    report = report_in(tmp_path / "a")
    assert report == report_in(tmp_path / "b") and [one["name"] for one in report["sets"]] == ["drawn", "twin"]
    assert all(asked["subject"]["inference"]["max_masks"] == 2 for asked in report["asked"].values())
    assert evaluate([*command, str(tmp_path / "c"), *behind[:3], "sed=1"]) == 2
    assert "sed" in (told := capsys.readouterr().err) and "no data set has the name" not in told
    monkeypatch.chdir(tmp_path)
    named = annotations.parent.rename(tmp_path / "inference.max_masks=2")
    assert evaluate([*command, str(tmp_path / "d"), "--datasets", named.name]) == 0  # a path that is there is a path
    assert [one["name"] for one in report_in(tmp_path / "d")["sets"]] == [named.name]


def test_a_damaged_results_file_is_told_with_its_entry(tmp_path, annotations, labels, evaluate, capsys):
    results = results_of_store(labels, annotations, tmp_path / "results.json")
    command = ["--datasets", str(annotations), "--processes", "1", "--predictions", str(results), "--output"]
    entries = json.loads(results.read_text())
    entries[3]["segmentation"]["counts"] = "~~"
    results.write_text(json.dumps(entries))
    assert evaluate([*command, str(tmp_path / "a")]) == 1
    assert report_in(tmp_path / "a")["sets"][0]["unanswered"] == 1
    told = (tmp_path / "a" / "drawn" / "unanswered.txt").read_text()
    assert "results.json: the mask of the entry at byte" in told and "mend or remove the entry" in told
    results.write_text(json.dumps([*entries, {"image_id": 3}]))
    assert evaluate([*command, str(tmp_path / "b")]) == 2
    assert f"entry {len(entries)} (counted from 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ([], "one of the arguments --model --store --predictions is required"),
        (["--model", "nowhere.pth"], "nowhere.pth: there is no such file or folder"),
        (["--store", "nowhere"], "nowhere is not a store"),
        (["--predictions", "nowhere"], "nowhere: there is no such results file"),
        (["--store", ".", "inference.max_masks=1"], "overrides are for --model"),
        (["--model", "nowhere.pth", "--max-dets", "0"], "must be a whole number of at least 1"),
        (["--model", "nowhere.pth", "--device", "gpu"], "device must be auto, cpu, cuda or mps, got 'gpu'"),
        (["--model", "nowhere.pth", "--device", ABSENT], f"device={ABSENT} is not to be had here"),
        (["--model", "nowhere.pth", "--processes", "2", "--device", "cuda"], "several processes are for --device cpu"),
        (["--predictions", ".", "--task", "point"], "--task point needs a --model that can be clicked"),
        (["--store", ".", "--task", "point", "--verify"], "--verify and --max-dets are about average recall"),
        (["--store", ".", "--task", "point", "--max-dets", "10"], "--verify and --max-dets are about average recall"),
        (["--store", ".", "--clicks", "2"], "--clicks are for --task point"),
    ],
)
def test_wrong_usage(tmp_path, annotations, evaluate, capsys, more, complaint):
    output = tmp_path / "evaluation"
    assert evaluate(["--datasets", str(annotations), "--output", str(output), *more]) == 2
    assert complaint in capsys.readouterr().err and not output.exists()


@pytest.mark.parametrize("data_set", ["coco", "nowhere.json"])
def test_a_mistyped_setting_is_told_before_a_data_set_that_is_not_there(
    tmp_path, monkeypatch, evaluate, capsys, data_set
):
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path))
    checkpoint = write_promptable(tmp_path / "model.pth")
    command = ["--datasets", data_set, "--model", str(checkpoint), "--output", str(tmp_path / "out")]
    assert evaluate([*command, "automatic.point_per_side=8"]) == 2
    assert "points_per_side" in capsys.readouterr().err
    assert evaluate([*command, "automatic.points_per_side=8"]) == 2
    assert "points_per_side" not in capsys.readouterr().err


def test_data_sets_that_cannot_be_measured(tmp_path, annotations, labels, evaluate, capsys):
    command = ["--store", str(labels), "--output", str(tmp_path / "a"), "--datasets"]
    assert evaluate([*command, str(labels)]) == 2
    assert "are measured against annotations in COCO's format" in capsys.readouterr().err
    twin = shutil.copytree(annotations.parent, tmp_path / "other" / "drawn")
    assert evaluate([*command, str(annotations), str(twin / "annotations.json")]) == 2
    assert "must have a name of its own, got drawn more often" in capsys.readouterr().err


# ---------------------------------------------------------------- clicks

LOOSE = ["automatic.points_per_side=3", "automatic.min_iou=0", "automatic.min_stability=0", "automatic.max_box_iou=1"]


@pytest.fixture
def promptable(tmp_path):
    return write_promptable(tmp_path / "clicks.pth")


def test_clicks_on_a_data_set(tmp_path, annotations, promptable, evaluate, capsys):
    command = ["--datasets", str(annotations), "--task", "point", "--images", "3", "--model", str(promptable)]
    command += ["--clicks", "2", "inference.short_side=80"]
    assert evaluate([*command, "--output", str(tmp_path / "a")]) == 0
    told = capsys.readouterr().out
    report = report_in(tmp_path / "a")
    found = report["sets"][0]["figures"]
    assert (
        told.startswith("drawn: 3 images; 9 ground truths") and report["task"] == "point" and found["name"] == "drawn"
    )
    assert 0 < found["max_iou"]["mean"] <= found["oracle_iou"]["mean"] and found["most_clicks"] == 2
    assert [one["threshold"] for one in found["clicks"]] == [0.8, 0.85, 0.9]
    evaluator = PointEvaluator(open_source(str(annotations)), images=3, most_clicks=2, name="drawn")
    predictor = PromptPredictor.from_checkpoint(promptable, overrides=["inference.short_side=80"])
    assert told.startswith(evaluator.report(evaluator.predictions(predictor)).table())
    # The same, gone on with where it was ended.
    journal = tmp_path / "b" / "drawn" / "images.journal"
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with open(journal, "r+b") as stream:
        stream.truncate(journal.stat().st_size * 2 // 3)
    assert evaluate([*command, "--output", str(tmp_path / "b"), "--resume"]) == 0
    assert report_in(tmp_path / "b") == report
    assert evaluate([*command, "--output", str(tmp_path / "b"), "--resume", "inference.short_side=64"]) == 2
    assert "subject.inference.short_side: 80 in the journal, 64 now" in capsys.readouterr().err


@pytest.mark.slow
def test_several_processes_ask_a_model(tmp_path, annotations, checkpoint, promptable, evaluate):
    masks = ["--model", str(checkpoint), *SMALL, "--device", "cpu"]
    clicks = [
        "--model",
        str(promptable),
        "inference.short_side=80",
        "--device",
        "cpu",
        "--task",
        "point",
        "--clicks",
        "2",
    ]
    for name, more in (("masks", masks), ("clicks", clicks)):
        for processes in ("1", "2"):
            output = ["--output", str(tmp_path / name / processes), "--processes", processes]
            assert evaluate(["--datasets", str(annotations), *more, *output]) == 0
        assert report_in(tmp_path / name / "1") == report_in(tmp_path / name / "2")


def test_clicks_on_panoptic_annotations_elsewhere(tmp_path, promptable, evaluate, capsys):
    path = write_panoptic(tmp_path / "a", images="photos")
    command = ["--task", "point", "--model", str(promptable), "--clicks", "1", "--output", str(tmp_path / "out")]
    assert evaluate([*command, "--datasets", str(path)]) == 2
    assert "3 of 3 images of" in capsys.readouterr().err
    described = tmp_path / "elsewhere.yaml"
    described.write_text(f"{{format: panoptic, annotations: {path}, images: {tmp_path / 'a' / 'photos'}}}")
    assert evaluate([*command, "--datasets", str(described), "inference.short_side=80"]) == 0
    assert capsys.readouterr().out.startswith("elsewhere: 3 images; 6 ground truths")


def test_panoptic_annotations_that_are_not_whole(tmp_path, promptable, evaluate, capsys):
    path = write_panoptic(tmp_path / "a", images="photos")
    segments = path.with_suffix("") / "0_ids.png"
    described = tmp_path / "some.yaml"
    described.write_text(
        f"{{format: panoptic, annotations: {path}, images: {tmp_path / 'a' / 'photos'}, prepare: unpack them}}"
    )
    command = ["--task", "point", "--model", str(promptable), "--clicks", "1", "inference.short_side=80"]
    command += ["--datasets", str(described), "--output"]
    whole = segments.read_bytes()
    segments.unlink()
    assert evaluate([*command, str(tmp_path / "missing")]) == 2
    assert "1 of 3 PNG files of segments are not there, such as" in (told := capsys.readouterr().err)
    assert "unpack them" in told
    segments.write_bytes(whole[:40])
    assert evaluate([*command, str(tmp_path / "damaged")]) == 1
    of_set = report_in(tmp_path / "damaged")["sets"][0]
    assert (of_set["left_out"], of_set["unanswered"], of_set["figures"]["n_images"]) == (1, 0, 2)


def test_segments_that_changed_are_another_evaluation(tmp_path, promptable, evaluate, capsys):
    path = write_panoptic(tmp_path / "a")
    command = ["--task", "point", "--model", str(promptable), "--clicks", "1", "inference.short_side=80"]
    command += ["--datasets", str(path), "--output", str(tmp_path / "out"), "--resume"]
    assert evaluate(command) == evaluate(command) == 0
    png = path.with_suffix("") / "1_ids.png"
    whole = png.read_bytes()
    png.write_bytes(whole + b" ")
    assert evaluate(command) == 2
    assert "is about another evaluation (annotations: " in capsys.readouterr().err
    png.write_bytes(whole)
    assert evaluate(command) == 0
    path.write_text('{"segments_info": 1}')
    assert evaluate(command) == 2
    told = capsys.readouterr().err
    assert "none of the data sets can be evaluated" in told and "is not a panoptic annotation file" in told


def test_both_tasks_leave_out_what_has_unreadable_ground_truth(tmp_path, annotations, labels, evaluate):
    """The figures are those of the set without that image, for which it makes no difference that it was there."""
    content = json.loads(annotations.read_text())
    next(one for one in content["annotations"] if one["image_id"] == 98)["segmentation"]["counts"] = "~"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(content))
    for section, key in (("images", "id"), ("annotations", "image_id")):
        content[section] = [one for one in content[section] if one[key] != 98]
    fewer = tmp_path / "fewer.json"
    fewer.write_text(json.dumps(content))
    for task in ("whole-image", "point"):
        found = []
        for path, code in ((broken, 1), (fewer, 0)):
            (tmp_path / f"{path.stem}.yaml").write_text(
                f"{{format: coco, annotations: {path}, images: {annotations.parent / 'images'}, name: drawn}}"
            )
            output = tmp_path / task / path.stem
            command = ["--store", str(labels), "--processes", "1", "--task", task, "--output", str(output)]
            assert evaluate([*command, "--datasets", str(tmp_path / f"{path.stem}.yaml")]) == code
            found += report_in(output)["sets"]
        assert (found[0].pop("left_out"), found[1].pop("left_out")) == (1, 0)
        assert (found[0].pop("all_images"), found[1].pop("all_images")) == (5, 4)
        assert found[0] == found[1] and found[0]["unanswered"] == 0


def test_annotations_without_a_mask_are_not_clicked_and_it_is_said(tmp_path, annotations, labels, evaluate):
    content = json.loads(annotations.read_text())
    broken = content["annotations"][0]
    broken["segmentation"] = []
    annotations.write_text(json.dumps(content))
    command = ["--store", str(labels), "--processes", "1", "--datasets", str(annotations), "--output"]
    assert evaluate([*command, str(tmp_path / "clicks"), "--task", "point"]) == 0
    (of_set,) = report_in(tmp_path / "clicks")["sets"]
    assert of_set["left_out"] == 0 and of_set["figures"]["n_truths"] == len(content["annotations"]) - 1
    (note,) = of_set["notes"]
    assert f"1 annotation has no mask and is left out, such as annotation {broken['id']} of image 100 " in note
    assert evaluate([*command, str(tmp_path / "masks")]) == 1
    (of_set,) = report_in(tmp_path / "masks")["sets"]
    assert of_set["left_out"] == 1 and of_set["notes"] == []


def test_labels_that_are_clicked(tmp_path, annotations, labels, evaluate, capsys):
    (annotations.parent / "images" / "01.png").write_bytes(b"no image")  # which is not looked at
    command = ["--datasets", str(annotations), "--task", "point", "--store", str(labels), "--output"]
    assert evaluate([*command, str(tmp_path / "a")]) == 0
    assert "Oracle IoU" in capsys.readouterr().out and report_in(tmp_path / "a")["sets"][0]["unanswered"] == 0


def test_automatic_masks_are_measured_as_any_others(tmp_path, annotations, promptable, evaluate):
    predict = runpy.run_path(str(REPOSITORY / "tools" / "predict.py"))["main"]
    store, settings = tmp_path / "store", [*LOOSE, "inference.short_side=80"]
    assert predict([str(promptable), str(annotations.parent / "images"), str(store), *settings, "--quiet"]) == 0
    assert MaskStore.open(store).manifest.config["automatic"]["points_per_side"] == 3
    command = ["--datasets", str(annotations), "--output"]
    assert evaluate([*command, str(tmp_path / "a"), "--model", str(promptable), *settings]) == 0
    assert evaluate([*command, str(tmp_path / "b"), "--store", str(store), "--processes", "1"]) == 0
    one, two = report_in(tmp_path / "a")["sets"], report_in(tmp_path / "b")["sets"]
    assert one == two and one[0]["figures"]["masks_per_image"] > 0


def test_a_whole_image_model_cannot_be_clicked(tmp_path, annotations, checkpoint, evaluate, capsys):
    command = ["--datasets", str(annotations), "--task", "point", "--output", str(tmp_path / "a")]
    assert evaluate([*command, "--model", str(checkpoint)]) == 2
    assert "does not say that it is a promptable model" in capsys.readouterr().err

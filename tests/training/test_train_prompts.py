"""The command line of training, for a promptable model: it learns, and a run is the same however it was run."""

from __future__ import annotations

import json
import runpy

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.training.annotated import write_annotated
from tests.training.panoptic import write_panoptic
from tests.training.test_objectives import TINY
from training.data.catalog import open_source
from training.evaluation.point_iou import PointEvaluator
from training.prompt_predictor import PromptPredictor


@pytest.fixture(scope="module")
def train_net():
    return runpy.run_path(str(REPOSITORY / "tools" / "train_net.py"))["main"]


@pytest.fixture
def annotations(tmp_path):
    return write_annotated(tmp_path / "drawn")


def command(annotations, output, *more):
    logged = ("log_every=1", "checkpoint_every=3", "optim.schedule=constant")
    return [*TINY, *logged, f"data.train=[{annotations}]", f"output={output}", *more]


def lines(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def losses(output):
    return [(line["step"], line["loss"], line["giou"], line["iou"]) for line in lines(output) if "loss" in line]


def evaluations(output):
    return {line["step"]: line["evaluation"] for line in lines(output) if "evaluation" in line}


def weights(output):
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


def test_training_learns(tmp_path, annotations, train_net):
    assert train_net(command(annotations, tmp_path / "out", "optim.steps=40", "optim.lr=2e-3")) == 0
    curve = [loss for _, loss, *_ in losses(tmp_path / "out")]
    assert len(curve) == 40 and np.mean(curve[-5:]) < 0.8 * np.mean(curve[:5])


def test_a_run_measures_one_click_and_can_be_measured_again(tmp_path, annotations, train_net, capsys):
    output, elsewhere = tmp_path / "out", write_panoptic(tmp_path / "a")
    data = [f"evaluation.data=[{annotations}, {elsewhere}]", "evaluation.images=3"]
    size = ["inference.short_side=80", "inference.long_side=128"]
    asked = command(annotations, output, "optim.steps=20", "optim.lr=2e-3", *data, *size)
    assert train_net([*asked, "evaluation.every=10"]) == 0
    found = evaluations(output)
    names = ("drawn", "annotations/panoptic_val2017")
    assert list(found) == [10, 20]
    assert found[20].keys() == {f"{name}/{figure}" for name in names for figure in ("max_iou", "oracle_iou")}
    assert found[10] != found[20]
    assert all(0 < found[20][f"{name}/max_iou"] <= found[20][f"{name}/oracle_iou"] for name in names)
    written = json.loads((output / "drawn.json").read_text())
    assert (written["task"], written["n_images"], written["most_clicks"], written["clicks"]) == ("point", 3, 1, [])
    capsys.readouterr()
    assert train_net([*asked, "--eval-only"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("drawn: 3 images") and "annotations/panoptic_val2017: 3 images" in told
    assert f"Oracle IoU  {found[20]['drawn/oracle_iou']:5.1f}" in told and "NoC" not in told
    # The same as asking the checkpoint that the run has left.
    predictor = PromptPredictor.from_checkpoint(output / "model_final.pth")
    evaluator = PointEvaluator(open_source(str(annotations)), images=3, most_clicks=1, name="drawn")
    assert evaluator.report(evaluator.predictions(predictor)).scalars() == pytest.approx(
        {name: figure for name, figure in found[20].items() if name.startswith("drawn/")}
    )


def test_a_resumed_run_takes_the_steps_of_an_uninterrupted_one(tmp_path, annotations, train_net):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train_net(command(annotations, whole)) == 0
    assert train_net(command(annotations, parts, "optim.steps=3")) == 0
    assert train_net([*command(annotations, parts, "data.workers=1"), "--resume"]) == 0
    assert losses(parts) == losses(whole) and len(losses(whole)) == 6
    left, right = weights(whole), weights(parts)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_two_processes_learn_what_one_does_and_share_the_measuring_which_changes_nothing(
    tmp_path, annotations, train_net, capsys
):
    one, two = tmp_path / "one", tmp_path / "two"
    assert train_net(command(annotations, one)) == 0
    measured = [f"evaluation.data=[{annotations}]", "evaluation.every=3", "inference.short_side=80"]
    assert train_net([*command(annotations, two, *measured), "--num-gpus", "2"]) == 0
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-3)
    assert list(evaluations(two)) == [3, 6]
    capsys.readouterr()
    assert train_net([*command(annotations, two, *measured), "--eval-only"]) == 0
    assert f"Oracle IoU  {evaluations(two)[6]['drawn/oracle_iou']:5.1f}" in capsys.readouterr().out


def test_a_trained_model_is_started_from(tmp_path, annotations, train_net, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_net(command(annotations, first)) == 0
    start = f"weights={first / 'model_final.pth'}"
    assert train_net(command(annotations, second, start, "optim.lr=1e-9", "optim.steps=1")) == 0
    kept = [weights(path) for path in (first, second)]
    assert all(torch.allclose(kept[0][name], kept[1][name], atol=1e-6) for name in kept[0])
    assert train_net(command(annotations, tmp_path / "wide", start, "promptable.width=64")) == 2
    assert "model_final.pth: the weights do not fit the model" in capsys.readouterr().err
    of_backbone = f"backbone_weights={first / 'model_final.pth'}"
    assert train_net(command(annotations, tmp_path / "third", of_backbone, "optim.steps=1")) == 0


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["task=promptible"], "task must be one of whole_image, promptable"),
        (["prompts.per_image=0"], "prompts.per_image must be at least 1"),
        (["prompts.targets=7"], "targets"),
        (["evaluation.data=[nowhere]"], "no data set has the name 'nowhere'"),
    ],
)
def test_what_cannot_work_is_said(tmp_path, annotations, train_net, capsys, more, complaint):
    assert train_net(command(annotations, tmp_path / "out", *more)) == 2
    assert complaint in capsys.readouterr().err

"""The benchmark of one click: its rows are the figures of the evaluation, and what labels could answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import one_click
from dico.cli import main as dico
from tests.training.annotated import write_annotated
from tools import evaluate


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Drawn images with their ground truth, and their labels; known as the data set ``drawn``."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "datasets").mkdir()
    annotations = write_annotated(tmp_path / "drawn")
    (tmp_path / "datasets" / "drawn.yaml").write_text(f"format: coco\nannotations: {annotations.as_posix()}\n")
    monkeypatch.setenv("DICO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert dico(["label", "drawn/images", "labels", "--quiet"]) == 0
    return tmp_path


def test_rows_are_the_figures_of_the_evaluation_and_bounds_of_them(drawn, capsys):
    again = f"again={one_click.SHIPPED}"
    assert one_click.main(["--datasets", "drawn", "--images", "0", "--store", "labels", "--model", again]) == 0
    printed = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| drawn")]
    nearest, chosen, every, shipped, same = rows
    assert [row[1] for row in rows] == [
        one_click.NEAREST,
        one_click.CHOSEN,
        one_click.ALL,
        "the shipped model",
        "again",
    ]
    assert shipped[3:] == same[3:]
    oracle, *_ = (float(row[3].split()[0]) for row in rows)
    for of_labels in (nearest, chosen):
        assert 0 < float(of_labels[3].split()[0]) <= float(every[3].split()[0])
    of_chosen = json.loads(printed.splitlines()[-1])[0]
    assert of_chosen["reference"] == pytest.approx(oracle, abs=0.05)
    for subject, row in ((["--store", "labels"], nearest), (["--model", str(one_click.SHIPPED)], shipped)):
        command = ["--datasets", "drawn", "--task", "point", "--clicks", "1", "--output", f"out{len(subject[1])}"]
        assert evaluate.main([*command, *subject]) == 0
        (of_set,) = json.loads((drawn / f"out{len(subject[1])}" / "report.json").read_text())["sets"]
        for cell, name in ((row[3], "oracle_iou"), (row[5], "max_iou")):
            assert cell.split()[0] == f"{of_set['figures'][name]['mean']:.1f}"


def test_without_a_store_labels_are_made(drawn, capsys):
    def rows():
        return [line for line in capsys.readouterr().out.splitlines() if "labels, " in line and line.startswith("|")]

    asked = ["--datasets", "drawn", "--images", "2"]
    assert one_click.main([*asked, "--store", "labels"]) == 0
    of_store = rows()
    assert one_click.main(asked) == 0
    assert rows() == of_store and len(of_store) == 3


def test_means_by_size():
    of_images = [np.array([0.5, 0.3]), np.array([0.9])]
    outcomes = [one_click.PointOutcome(str(i), iou_G, iou_G) for i, iou_G in enumerate(of_images)]
    small, medium, large = one_click.means_by_size(outcomes, [np.array([32**2 - 1, 96**2]), np.array([5])])
    assert (small, large) == pytest.approx((70, 30)) and np.isnan(medium)


def test_a_model_that_cannot_be_read_is_told_before_photographs_are_labelled(drawn, monkeypatch, capsys):
    monkeypatch.setattr(one_click, "made_labels", lambda records: pytest.fail("it labels already"))
    assert one_click.main(["--datasets", "drawn", "--model", "tiny=nowhere.pth"]) == 2
    assert capsys.readouterr().err == "one_click: error: nowhere.pth: there is no such file or folder\n"
    (drawn / "damaged.pth").write_text("{")
    assert one_click.main(["--datasets", "drawn", "--model", "tiny=damaged.pth"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("one_click: error: ") and "damaged.pth" in told and len(told.splitlines()) == 1

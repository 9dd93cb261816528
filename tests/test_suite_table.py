"""The benchmark that makes the table of a suite."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image

from benchmarks import suite_table
from dico.masks import MaskSet
from tests.conftest import draw


def test_every_subject_has_a_row_of_each_data_set(tmp_path, monkeypatch, capsys):
    (tmp_path / "dev" / "images").mkdir(parents=True)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "drawn.yaml").write_text("format: coco\nannotations: ../dev/annotations.json\n")
    images, annotations = [], []
    for image_id in (1, 2):
        PIL.Image.fromarray(draw(image_id, (60, 80))).save(tmp_path / "dev" / "images" / f"{image_id}.png")
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": 60, "width": 80})
        truth_HW = np.zeros((1, 60, 80), dtype=bool)
        truth_HW[0, 10:40, 10:50] = True
        annotations += MaskSet.from_arrays(truth_HW).to_coco(image_id=image_id, first_id=image_id)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (tmp_path / "dev" / "annotations.json").write_text(json.dumps(content))
    monkeypatch.setenv("DICO_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert suite_table.main(["--datasets", "drawn", "--images", "0", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| drawn")]
    assert [row[1] for row in rows] == [suite_table.REFERENCE, suite_table.LABELS] and {row[2] for row in rows} == {"2"}
    (of_labels,) = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    reports = tmp_path / "out" / "all images" / "reports"
    for name, key in ((suite_table.LABELS, "value"), (suite_table.REFERENCE, "reference")):
        (of_set,) = json.loads((reports / name / "report.json").read_text())["sets"]
        assert of_labels[key] == suite_table.recall(of_set, 1000)

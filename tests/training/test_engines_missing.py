"""What is said where an engine cannot be had."""

from __future__ import annotations

import runpy
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def train_net():
    return runpy.run_path(str(REPOSITORY / "tools" / "train_net.py"))["main"]


@pytest.mark.parametrize(
    ("engine", "package", "remedy"),
    [
        ("detectron2", "detectron2.engine", "git+https://github.com/facebookresearch/detectron2"),
        ("ray", "ray.train", "pip install 'divide-and-conquer[ray-train]'"),
    ],
)
def test_a_missing_engine_is_named_before_anything_is_written(
    tmp_path, monkeypatch, capsys, train_net, engine, package, remedy
):
    for name in (package.partition(".")[0], package):
        monkeypatch.setitem(sys.modules, name, None)
    for ours in ("detectron2", "ray_train"):
        monkeypatch.delitem(sys.modules, f"training.engine.{ours}", raising=False)
    assert train_net([f"engine={engine}", "device=cpu", f"output={tmp_path / 'out'}"]) == 2
    told = capsys.readouterr().err
    assert f"train_net: engine={engine} needs" in told and remedy in told
    assert not (tmp_path / "out").exists()

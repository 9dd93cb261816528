from __future__ import annotations

import runpy
import shutil
import signal
import subprocess
import sys

import pytest

from dico.image import load_image
from dico.store import MaskStore
from tests.conftest import REPOSITORY
from tests.test_run import shard_bytes
from tests.training.annotated import write_annotated, write_checkpoint
from tests.waiting import wait_for
from training.trained import load_trained

SMALL = ["inference.short_side=64", "inference.long_side=96"]


@pytest.fixture(scope="module")
def predict():
    return runpy.run_path(str(REPOSITORY / "tools" / "predict.py"))["main"]


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "model.pth")


@pytest.fixture
def images(tmp_path):
    write_annotated(tmp_path, 3)
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    return tmp_path / "images"


def test_masks_of_all_images_but_the_broken_one(tmp_path, checkpoint, images, predict, capsys):
    output = tmp_path / "predictions"
    assert predict([str(checkpoint), str(images), str(output), *SMALL, "--device", "cpu"]) == 1
    told = capsys.readouterr().err
    assert "predict: 3 of 4 images labelled" in told and "1 image failed (1 decode in this run)" in told
    store = MaskStore.open(output)
    assert not store.verify().problems
    trained = load_trained(checkpoint, overrides=SMALL)
    done = {row.path: row.masks for row in store if row.masks is not None}
    assert done == {f"{i:02d}.png": trained.predict(load_image(images / f"{i:02d}.png")) for i in range(3)}
    assert [failure.path for failure in store.failures()] == ["broken.png"]
    assert store.manifest.config == trained.identity()


def test_it_goes_on_where_it_stopped(tmp_path, checkpoint, images, predict):
    (images / "broken.png").unlink()
    command = [str(checkpoint), str(images), str(tmp_path / "a"), *SMALL, "--quiet"]
    assert predict([*command, "--limit", "2"]) == 0
    assert MaskStore.open(tmp_path / "a").status().done == 2
    assert predict(command) == 0
    assert predict([str(checkpoint), str(images), str(tmp_path / "b"), *SMALL, "--quiet"]) == 0
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")


def test_another_model_and_other_settings_are_other_jobs(tmp_path, checkpoint, images, predict, capsys):
    command = [str(images), str(tmp_path / "a"), *SMALL]
    assert predict([str(checkpoint), *command]) == 1
    before = shard_bytes(tmp_path / "a")
    other = write_checkpoint(tmp_path / "other.pth", seed=1)
    capsys.readouterr()
    assert predict([str(other), *command]) == 2
    assert "checkpoint_sha256" in capsys.readouterr().err
    assert predict([str(checkpoint), *command, "inference.max_masks=2"]) == 2
    assert "inference.max_masks: 1000 in the store, 2 now" in capsys.readouterr().err
    copy = shutil.copy(checkpoint, tmp_path / "moved.pth")
    assert predict([str(copy), *command]) == 1
    assert shard_bytes(tmp_path / "a") == before


def test_a_mended_image(tmp_path, checkpoint, images, predict):
    command = [str(checkpoint), str(images), str(tmp_path / "a"), *SMALL, "--quiet"]
    assert predict(command) == 1
    shutil.copy(images / "00.png", images / "broken.png")
    assert predict([*command, "--retry-failed"]) == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"checkpoint": "nowhere.pth"}, "nowhere.pth: there is no such file or folder"),
        ({"images": "nowhere"}, "nowhere does not exist"),
        ({"more": ["inference.max_mask=1"]}, "did you mean inference.max_masks?"),
        ({"more": ["optim.lr=1"]}, "a setting must be of the section inference"),
        ({"more": ["--config-file", "nowhere.yaml"]}, "nowhere.yaml: there is no such YAML file"),
        ({"more": ["--num-workers", "0"]}, "must be a whole number of at least 1"),
        ({"more": ["--num-workers", "2", "--device", "cuda"]}, "several processes are for --device cpu"),
    ],
)
def test_wrong_usage_leaves_nothing(tmp_path, checkpoint, images, predict, capsys, change, complaint):
    given = {"checkpoint": str(checkpoint), "images": str(images), "more": [], **change}
    assert predict([given["checkpoint"], given["images"], str(tmp_path / "a"), *given["more"]]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_ctrl_c_finishes_the_image_under_way(tmp_path, checkpoint, images):
    for index in range(300):
        shutil.copy(images / "00.png", images / f"more{index:03d}.png")
    command = [sys.executable, "tools/predict.py", str(checkpoint), str(images), str(tmp_path / "a"), *SMALL]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        shards = tmp_path / "a" / "shards"
        wait_for(lambda: process.poll() is not None or any(file.stat().st_size for file in shards.glob("*.journal")))
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert process.returncode == 130 and "interrupted; the same command goes on" in told
    done = MaskStore.open(tmp_path / "a").status().done
    assert 0 < done < 300 and f"predict: {done} of 304 images labelled" in told


@pytest.mark.slow
def test_processes_write_the_same_store(tmp_path, checkpoint, images, predict):
    command = [str(checkpoint), str(images), "--device", "cpu", *SMALL, "--quiet"]
    assert predict([*command[:2], str(tmp_path / "a"), *command[2:]]) == 1
    assert predict([*command[:2], str(tmp_path / "b"), *command[2:], "--num-workers", "2"]) == 1
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")

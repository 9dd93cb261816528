from __future__ import annotations

import pytest
from test_run import shard_bytes

from dico import MaskStore, label_images, load_config
from dico.cli import main
from dico.run import RunOptions
from dico.store import StoreError


def test_it_does_what_the_command_does(tmp_path, image_folder):
    folder = image_folder(3)
    summary = label_images(folder, tmp_path / "a", options=RunOptions(limit=2))
    assert (summary.labelled, summary.pending) == (2, 1)
    assert label_images(folder, tmp_path / "a").labelled == 1
    assert main(["label", str(folder), str(tmp_path / "b")]) == 0
    assert shard_bytes(tmp_path / "a") == shard_bytes(tmp_path / "b")
    assert main(["label", str(folder), str(tmp_path / "a")]) == 0  # one goes on with what the other made


def test_it_goes_on_with_the_store_s_size_of_shards(tmp_path, image_folder):
    folder = image_folder(3)
    assert main(["label", str(folder), str(tmp_path / "a"), "--shard-size", "2", "--limit", "1"]) == 0
    assert label_images(folder, tmp_path / "a").labelled == 2
    assert MaskStore.open(tmp_path / "a").manifest.shard_size == 2


def test_a_mended_image(tmp_path, image_folder):
    folder = image_folder(2)
    good = (folder / "0001.png").read_bytes()
    (folder / "0001.png").write_bytes(good[:60])
    assert label_images(folder, tmp_path / "a").failed == 1
    (folder / "0001.png").write_bytes(good)
    with pytest.raises(StoreError, match="add --retry-failed"):
        label_images(folder, tmp_path / "a")
    assert label_images(folder, tmp_path / "a", options=RunOptions(retry_failed=True)).labelled == 1


def test_what_cannot_work_leaves_nothing(tmp_path, image_folder):
    folder = image_folder(1)
    with pytest.raises(ValueError, match="needs objects to look for parts in"):
        label_images(folder, tmp_path / "a", load_config(None, ["conquer.parts=true"]))
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        label_images("nowhere", tmp_path / "a")
    assert not (tmp_path / "a").exists()

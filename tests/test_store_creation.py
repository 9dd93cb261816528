"""Making a store, and making one anew that has no row yet."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dico.store import Failure, MaskStore, StoreError, creation
from tests.stores import fill, manifest_of, masks_of

OTHER = {"config": {"seed": 7}, "config_hash": "other"}


def test_a_store_without_a_row_is_made_anew_for_another_job(tmp_path):
    MaskStore.create(tmp_path / "out", manifest_of(15))
    with MaskStore.open(tmp_path / "out").writer():
        pass
    store = MaskStore.create(tmp_path / "out", manifest_of(7, **OTHER))
    assert store.manifest == MaskStore.open(tmp_path / "out").manifest == manifest_of(7, **OTHER)
    fill(store, range(7))
    assert store.verify().problems == ()


def test_what_a_run_without_rows_left_goes(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with store.writer() as writer:
        writer._failures.append(Failure(2, "sub/002 ü.jpg", "error", "killed before its row"))
    (store.path / "shards" / "000003.journal").write_bytes(b"\x10\x00")  # the first row was cut short
    (store.path / "shards" / ".000002.meta.json.77.tmp").write_bytes(b"{")
    store = MaskStore.create(tmp_path / "out", manifest_of(7, **OTHER))
    assert list((store.path / "shards").iterdir()) == []
    assert store.failures() == []


@pytest.mark.parametrize("rows", [[5], [0, 1, 2, 3]], ids=["journal", "shard"])
def test_one_row_is_enough_to_stay(tmp_path, rows):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    fill(store, rows)
    with pytest.raises(StoreError, match="belongs to another run and was left as it is"):
        MaskStore.create(tmp_path / "out", manifest_of(15, **OTHER))
    assert MaskStore.open(tmp_path / "out").manifest == manifest_of(15)


def test_a_store_that_is_being_written_stays(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with store.writer(range(2, 3)) as writer:
        with pytest.raises(StoreError, match=r"is being written by process .* \(shards 2:3\)"):
            MaskStore.create(tmp_path / "out", manifest_of(15, **OTHER))
        writer.write(8, masks_of(8))
    assert [row.index for row in MaskStore.open(tmp_path / "out")] == [8]


def test_a_store_that_was_made_anew_meanwhile_is_not_written(tmp_path):
    before = MaskStore.create(tmp_path / "out", manifest_of(15))
    now = MaskStore.create(tmp_path / "out", manifest_of(15, **OTHER))
    with pytest.raises(StoreError, match="was made anew for other images or settings meanwhile; run again"):
        before.writer().__enter__()
    fill(now, [0])
    assert list((tmp_path / "out" / "locks").glob("*.lock")) == []


def test_a_driver_that_was_faster_is_not_overruled(tmp_path, monkeypatch):
    """Between our look at the empty store and the guard, another driver mended its manifest as we would, and began."""
    MaskStore.create(tmp_path / "out", manifest_of(15))
    original = creation.guard

    @contextmanager
    def guard_after_other(folder: Path) -> Iterator[None]:
        monkeypatch.undo()
        fill(MaskStore.create(tmp_path / "out", manifest_of(7, **OTHER)), [0])
        with original(folder):
            yield

    monkeypatch.setattr(creation, "guard", guard_after_other)
    assert len(list(MaskStore.create(tmp_path / "out", manifest_of(7, **OTHER)))) == 1


def test_a_store_of_an_earlier_release_has_no_digest(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(3))
    path = tmp_path / "out" / "manifest.jsonl"
    digest = f'"images_sha256": "{store.manifest.header()["images_sha256"]}", '
    assert digest in path.read_text()
    path.write_text(path.read_text().replace(digest, ""))
    fill(MaskStore.create(tmp_path / "out", manifest_of(3)), range(3))


def test_a_manifest_whose_paths_were_changed_is_damaged(tmp_path):
    MaskStore.create(tmp_path / "out", manifest_of(3))
    path = tmp_path / "out" / "manifest.jsonl"
    path.write_text(path.read_text().replace("sub/001", "sub/007"))
    with pytest.raises(StoreError, match="its images are not those that were written"):
        MaskStore.open(tmp_path / "out")


def make(folder: str, start: object) -> None:
    start.wait(60)
    MaskStore.create(folder, manifest_of(2000))


def test_processes_that_start_together_all_find_their_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    processes = [context.Process(target=make, args=(str(tmp_path / "deep" / "out"), start)) for _ in range(5)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 5
    assert MaskStore.open(tmp_path / "deep" / "out").manifest == manifest_of(2000)


def test_a_folder_that_another_driver_makes_a_store_while_we_look(tmp_path, monkeypatch):
    """Its shards are there when the folder is listed, as the manifest was not when we asked for it."""
    folder = tmp_path / "out"
    iterdir = Path.iterdir

    def other_driver_first(path: Path):
        monkeypatch.setattr(Path, "iterdir", iterdir)
        fill(MaskStore.create(folder, manifest_of(15)), range(4))
        return iterdir(path)

    folder.mkdir()
    monkeypatch.setattr(Path, "iterdir", other_driver_first)
    assert len(list(MaskStore.create(folder, manifest_of(15)))) == 4


def test_status_reads_no_complete_shard_and_counts_journals(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    assert store.status().bytes == 0
    fill(store, [0, 1, 2, 3, 5], failing=(1,))
    rows = store.path / "shards" / "000000.jsonl.zst"
    size = rows.stat().st_size
    rows.write_bytes(bytes(size))
    status = store.status()
    assert (status.done, status.failed, status.shards_done) == (4, 1, 1)
    assert status.bytes == size + sum(map(len, store.lines(1)))

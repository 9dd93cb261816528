from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dico.mask_codes import encode_mask
from dico.store import Failure, ImageEntry, Manifest, MaskStore, StoreError, encode_row
from dico.store.journal import Journal, read_journal
from dico.store.shards import ShardFiles
from tests.stores import CONFIG, fill, manifest_of, masks_of, shard_bytes

# -------------------------------------------------------------------- manifest


def test_manifest_lists_files_sorted_once_with_sizes(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jpg").write_bytes(b"12345")
    (tmp_path / "a.jpg").write_bytes(b"1")
    files = [tmp_path / "b" / "x.jpg", tmp_path / "gone.jpg", tmp_path / "a.jpg", tmp_path / "b" / ".." / "a.jpg"]
    manifest = Manifest.of_files(files, config=CONFIG, config_hash="abc")
    assert manifest.root == str(tmp_path.resolve())
    assert [(e.index, e.path, e.bytes) for e in manifest.entries] == [
        (0, "a.jpg", 1),
        (1, "b/x.jpg", 5),
        (2, "gone.jpg", -1),
    ]
    assert MaskStore(tmp_path / "out", manifest).image_path(manifest.entries[1]) == tmp_path.resolve() / "b" / "x.jpg"
    deeper = Manifest.of_files([tmp_path / "b" / "x.jpg"], config=CONFIG, config_hash="abc")
    assert deeper.entries[0].path == "x.jpg"
    assert (
        Manifest.of_files([tmp_path / "b" / "x.jpg"], config=CONFIG, config_hash="abc", root=tmp_path).entries[0].path
        == "b/x.jpg"
    )


def test_manifest_round_trip_and_damage(tmp_path):
    manifest = manifest_of(6)
    path = tmp_path / "manifest.jsonl"
    manifest.write(path)
    assert Manifest.read(path) == manifest
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreError, match="must list 6 images, got 5: it was cut short"):
        Manifest.read(path)
    for damaged in (b"", whole[:50], b"[]\n", b'{"format": "coco"}\n'):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="is not the manifest of a store, or is damaged"):
            Manifest.read(path)
    path.write_bytes(whole.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(StoreError, match="read it with the release of dico that wrote it"):
        Manifest.read(path)


def test_manifest_refuses_nonsense():
    with pytest.raises(ValueError, match="shard_size must be at least 1, got 0"):
        manifest_of(3, shard_size=0)
    with pytest.raises(ValueError, match="entries must have the indices 0, 1, 2"):
        Manifest("/", (ImageEntry(1, "a", 1),), {}, "abc")
    with pytest.raises(ValueError, match="files must be at least one image"):
        Manifest.of_files([], config={}, config_hash="abc")


def test_shards_of_a_manifest():
    manifest = manifest_of(9)
    assert manifest.shards == 3
    assert [list(manifest.shard_indices(k)) for k in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


# -------------------------------------------------------------------- writing and reading


def test_round_trip_with_failures(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    fill(store, list(range(9)), failing=(2, 8))
    rows = list(MaskStore.open(tmp_path / "out"))
    assert [row.index for row in rows] == list(range(9))
    assert [row.status for row in rows] == ["failed" if i in (2, 8) else "done" for i in range(9)]
    assert rows[2].kind == "decode" and rows[2].masks is None
    assert all(row.masks == masks_of(row.index) and row.kind is None for row in rows if row.status == "done")
    assert rows[4].path == "sub/004 ü.jpg"
    assert store.image_path(rows[4]) == store.image_path(rows[4].path) == Path("/photos/sub/004 ü.jpg")
    assert [(f.index, f.path, f.error) for f in store.failures()] == [
        (2, "sub/002 ü.jpg", "ImageError: broken"),
        (8, "sub/008 ü.jpg", "ImageError: broken"),
    ]
    status = store.status()
    assert (status.images, status.done, status.failed, status.pending) == (9, 7, 2, 0)
    assert (status.shards, status.shards_done) == (3, 3)
    assert not list((tmp_path / "out" / "shards").glob("*.journal"))
    assert [path.name for path in (tmp_path / "out" / "locks").iterdir()] == ["guard"]


def test_order_of_arrival_does_not_change_a_byte(tmp_path):
    first = MaskStore.create(tmp_path / "first", manifest_of(9))
    fill(first, list(range(9)), failing=(5,))
    second = MaskStore.create(tmp_path / "second", manifest_of(9))
    fill(second, [8, 3, 7, 1], failing=(5,))
    fill(second, [2, 0, 5, 4, 6], failing=(5,))
    assert shard_bytes(first) == shard_bytes(second)
    assert len(shard_bytes(first)) == 6


def test_an_unfinished_store_gives_the_rows_it_has(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    fill(store, [6, 4, 0])
    assert [row.index for row in store] == [0, 4, 6]
    assert (store.status().done, store.status().pending) == (3, 6)
    with store.writer() as writer:
        assert list(writer.pending()) == [1, 2, 3, 5, 7, 8]
        assert [row.index for row in store] == [0, 4, 6]


@pytest.mark.parametrize("count", [lambda store: len(list(store)), lambda store: store.status().done])
def test_a_shard_that_is_completed_while_it_is_read(tmp_path, monkeypatch, count):
    """The reader finds no meta; then the writer completes the shard and drops the journal, which the reader opens."""
    store = MaskStore.create(tmp_path / "out", manifest_of(4))
    fill(store, [0, 1, 2])
    read_started = ShardFiles.read_started

    def too_late(files: ShardFiles) -> dict[int, bytes]:
        monkeypatch.undo()
        fill(store, [3])
        return read_started(files)

    monkeypatch.setattr(ShardFiles, "read_started", too_late)
    assert count(store) == 4


def test_the_first_row_of_an_image_stays(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(3))
    with store.writer() as writer:
        assert writer.write(1, masks_of(1))
        assert not writer.add(1, encode_row(store.manifest.entries[1], masks_of(2)))
        assert not writer.fail(Failure(1, "x", "error", "late"))
    assert [row.masks for row in store] == [masks_of(1)]
    assert store.failures() == []


def test_an_index_outside_the_manifest(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(3))
    with store.writer() as writer, pytest.raises(IndexError, match=r"index must be within 0\.\.2, got 3"):
        writer.add(3, b"{}\n")


# -------------------------------------------------------------------- resuming


def test_resuming_another_job_says_what_differs_and_changes_nothing(tmp_path):
    manifest = manifest_of(6)
    store = MaskStore.create(tmp_path / "out", manifest)
    fill(store, [0, 1])
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    entries = [*manifest.entries[1:], ImageEntry(6, "new.jpg", 1), ImageEntry(7, "newer.jpg", 1)]
    entries[0] = replace(entries[0], bytes=7)
    other = replace(
        manifest,
        root="/elsewhere",
        entries=tuple(replace(entry, index=i) for i, entry in enumerate(entries)),
        config={"seed": 0, "select": {"max_masks": 100, "max_iou": 0.9}, "extra": None},
        shard_size=5,
    )
    with pytest.raises(StoreError) as caught:
        MaskStore.create(tmp_path / "out", other)
    for line in (
        "out belongs to another run and was left as it is",
        "select.max_masks: 350 in the store, 100 now",
        "extra: absent in the store, null now",
        "2 images added: new.jpg, newer.jpg",
        "1 image removed: sub/000 ü.jpg",
        "1 image changed in size: sub/001 ü.jpg",
        "shard size: 4 in the store, 5 now",
        "folder of the images: /photos in the store, /elsewhere now",
    ):
        assert line in str(caught.value)
    assert "max_iou" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert [row.index for row in MaskStore.create(tmp_path / "out", manifest)] == [0, 1]


def test_a_folder_with_other_files_is_not_made_a_store(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match="exists and is not a store; OUTPUT must be a new or empty folder"):
        MaskStore.create(tmp_path, manifest_of(1))
    with pytest.raises(StoreError, match="exists and is not a store"):
        MaskStore.create(tmp_path / "holiday.jpg", manifest_of(1))
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(FileNotFoundError, match=r"is not a store .* make one with dico label"):
        MaskStore.open(tmp_path)


def test_a_journal_cut_anywhere_loses_only_its_last_row(tmp_path):
    whole = MaskStore.create(tmp_path / "whole", manifest_of(4))
    fill(whole, [0, 1, 2, 3])
    store = MaskStore.create(tmp_path / "out", manifest_of(4))
    fill(store, [0, 1, 2])
    journal = tmp_path / "out" / "shards" / "000000.journal"
    content = journal.read_bytes()
    two_rows = len(content) - len(list(read_journal(journal))[-1]) - 8
    for length in range(two_rows, len(content)):
        journal.write_bytes(content[:length])
        with store.writer() as writer:
            assert list(writer.pending()) == [2, 3]
            writer.write(3, masks_of(3))
        assert [row.index for row in store] == [0, 1, 3]
    flipped = bytearray(content)
    flipped[two_rows + 20] ^= 1
    journal.write_bytes(flipped)
    fill(store, [2, 3])
    assert shard_bytes(store) == shard_bytes(whole)


@pytest.mark.parametrize("killed_after", ["journal", "rows", "meta"])
def test_a_kill_while_a_shard_is_completed(tmp_path, killed_after):
    whole = MaskStore.create(tmp_path / "whole", manifest_of(4))
    fill(whole, [0, 1, 2, 3], failing=(1,))
    store = MaskStore.create(tmp_path / "out", manifest_of(4))
    fill(store, [3, 1, 0], failing=(1,))
    with_last = Journal(tmp_path / "out" / "shards" / "000000.journal")
    with_last.append(encode_row(store.manifest.entries[2], masks_of(2)))
    with_last.close()
    shards = {"journal": [], "rows": ["000000.jsonl.zst"], "meta": ["000000.jsonl.zst", "000000.meta.json"]}[
        killed_after
    ]
    for name in shards:
        (store.path / "shards" / name).write_bytes((whole.path / "shards" / name).read_bytes())
    (store.path / "shards" / ".000000.jsonl.zst.77.tmp").write_bytes(b"half")
    assert [row.index for row in store] == [0, 1, 2, 3]
    with store.writer() as writer:
        assert list(writer.pending()) == []
        assert writer.failed == 1
    assert shard_bytes(store) == shard_bytes(whole)


def test_a_story_without_a_row_is_dropped_and_the_image_tried_again(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(4))
    fill(store, [0], failing=(0,))
    story = store.failures_path.read_bytes()
    store.failures_path.write_bytes(story + story.replace(b'"index":0', b'"index":2') + story[:30])
    assert [failure.index for failure in store.failures()] == [0, 2]
    with store.writer() as writer:
        assert list(writer.pending()) == [1, 2, 3]
    assert store.failures_path.read_bytes() == story


def test_a_shard_that_was_cut_short_is_redone(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(6))
    fill(store, list(range(6)), failing=(0,))
    sound = shard_bytes(store)
    rows = tmp_path / "out" / "shards" / "000000.jsonl.zst"
    rows.write_bytes(rows.read_bytes()[:-9])
    with pytest.raises(StoreError, match="label again to redo it"):
        list(store)
    assert "must have" in store.verify().problems[0]
    with store.writer() as writer:
        assert writer.damaged_shards == [0]
        assert list(writer.pending()) == [0, 1, 2, 3]
    fill(store, [0, 1, 2, 3], failing=(0,))
    assert shard_bytes(store) == sound
    assert [failure.index for failure in store.failures()] == [0]


# -------------------------------------------------------------------- journal


def test_journal_appends_after_reopening(tmp_path):
    path = tmp_path / "j"
    assert list(read_journal(path)) == []
    for payload in (b"one", b"x" * 100_000):
        journal = Journal(path)
        journal.append(payload)
        journal.close()
        journal.close()
    assert list(read_journal(path)) == [b"one", b"x" * 100_000]


def test_journal_ends_at_zeros(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append(b"one")
    with pytest.raises(ValueError, match="payload must not be empty"):
        journal.append(b"")
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole + bytes(4096))
    assert list(read_journal(tmp_path / "j")) == [b"one"]
    Journal(tmp_path / "j").close()
    assert (tmp_path / "j").read_bytes() == whole


def test_rows_are_on_file_before_the_journal_is_closed(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append(b"one")
    assert list(read_journal(tmp_path / "j")) == [b"one"]
    journal.close()


# -------------------------------------------------------------------- verify


@pytest.fixture
def sound_store(tmp_path: Path) -> MaskStore:
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    fill(store, list(range(9)), failing=(3,))
    return store


def replace_row(store: MaskStore, shard: int, place: int, row: dict[str, object]) -> None:
    """Rewrites a shard, digest and all, with one row changed: what only a deep check finds."""
    lines = list(store.lines(shard))
    lines[place] = json.dumps(row).encode() + b"\n"
    ShardFiles.of(store.path, shard).write(lines, failed=0)


def row_of(store: MaskStore, shard: int, place: int) -> dict[str, object]:
    return json.loads(list(store.lines(shard))[place])


def test_a_sound_store_verifies(sound_store):
    report = sound_store.verify()
    assert report.problems == ()
    assert (report.images, report.done, report.failed, report.pending) == (9, 8, 1, 0)
    assert report.masks == sum(i % 3 for i in range(9) if i != 3)


def test_an_unfinished_store_verifies(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(9))
    fill(store, [0, 5])
    report = store.verify()
    assert (report.problems, report.done, report.pending) == ((), 2, 7)


@pytest.mark.parametrize("at", [0, 20, -1])
def test_one_flipped_bit_is_found(sound_store, at):
    rows = sound_store.path / "shards" / "000001.jsonl.zst"
    content = bytearray(rows.read_bytes())
    content[at] ^= 4
    rows.write_bytes(content)
    assert any("000001.jsonl.zst is not what was written" in problem for problem in sound_store.verify().problems)


def test_missing_files_are_found(sound_store):
    (sound_store.path / "shards" / "000001.jsonl.zst").unlink()
    assert any("000001.jsonl.zst is damaged" in problem for problem in sound_store.verify().problems)
    (sound_store.path / "shards" / "000002.meta.json").write_text("{")
    assert any("000002.meta.json is damaged" in problem for problem in sound_store.verify().problems)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"index": 4}, "image 4 (sub/005 ü.jpg) has two rows"),
        ({"index": 0}, "shard 1 holds image 0, which is not one of its own"),
        ({"index": 7}, "image 6 (sub/006 ü.jpg) is out of order"),
        ({"path": "other.jpg"}, "image 5 must be sub/005 ü.jpg, got other.jpg"),
        ({"masks": {}}, "is damaged"),
        ({"status": None}, "is damaged"),
        ({"status": "failed", "kind": "bored"}, "is damaged"),
        ({"status": "failed", "kind": "error"}, "must count 1 failed images, got 0"),
    ],
)
def test_rows_that_do_not_belong_are_found(sound_store, change, problem):
    replace_row(sound_store, 1, 1, {**row_of(sound_store, 1, 1), **change})
    assert any(problem in found for found in sound_store.verify().problems), sound_store.verify().problems


def test_a_code_of_another_size_is_found(sound_store):
    row = row_of(sound_store, 1, 1)
    row["masks"]["counts"][1] = encode_mask(np.ones((3, 3), bool)).decode()
    replace_row(sound_store, 1, 1, row)
    assert any("image 5 (sub/005 ü.jpg), mask 1: rle must cover" in p for p in sound_store.verify().problems)


def test_too_few_rows_are_found(sound_store):
    files = sound_store.path / "shards"
    meta = json.loads((files / "000001.meta.json").read_text())
    meta["rows"] = 5
    (files / "000001.meta.json").write_text(json.dumps(meta))
    assert any("must hold 5 rows, got 4" in problem for problem in sound_store.verify().problems)

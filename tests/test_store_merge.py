"""Several stores made one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dico.store import Failure, ImageEntry, Manifest, MaskStore, StoreError, merge_stores
from dico.store import merge as merging
from dico.store.rows import moved_row
from tests.stores import CONFIG, FAILING, fill, manifest_of, masks_of, shard_bytes


def part(folder: Path, indices: range, failing: tuple[int, ...] = FAILING) -> MaskStore:
    store = MaskStore.create(folder, manifest_of(15))
    fill(store, indices, failing=failing)
    return store


def listing(root: str, sizes: dict[str, int], *, shard_size: int = 4) -> Manifest:
    entries = [ImageEntry(i, path, size) for i, (path, size) in enumerate(sizes.items())]
    return Manifest(root, entries, CONFIG, "abc", shard_size)


def labelled(folder: Path, manifest: Manifest, labels: dict[str, int | str]) -> MaskStore:
    """A store in which images have the masks of a number, or a failure of that error."""
    store = MaskStore.create(folder, manifest)
    index_by_path = {entry.path: entry.index for entry in manifest.entries}
    with store.writer() as writer:
        for path, label in labels.items():
            if isinstance(label, str):
                writer.fail(Failure(index_by_path[path], path, "error", label))
            else:
                writer.write(index_by_path[path], masks_of(label))
    return store


def contents(store: MaskStore) -> dict[str, object]:
    return {row.path: row.kind or row.masks for row in store}


# -------------------------------------------------------------------- one listing


@pytest.mark.parametrize(
    "ranges",
    [
        [range(0, 8), range(8, 15)],
        [range(12, 15), range(4, 12), range(0, 4)],
        [range(0, 6), range(6, 15)],  # a shard of which each has a part
        [range(0, 15)],
        [range(0, 0), range(0, 15), range(0, 9)],
    ],
)
def test_parts_of_one_job_are_the_job(tmp_path, whole_store, ranges):
    sources = [part(tmp_path / str(i), indices) for i, indices in enumerate(ranges)]
    before = [shard_bytes(source) for source in sources if (source.path / "shards").exists()]
    report = merge_stores(sources, tmp_path / "out")
    store = MaskStore.open(tmp_path / "out")
    assert shard_bytes(store) == shard_bytes(whole_store)
    assert store.manifest == whole_store.manifest
    assert store.failures_path.read_bytes() == whole_store.failures_path.read_bytes()
    assert (store.path / "manifest.jsonl").read_bytes() == (whole_store.path / "manifest.jsonl").read_bytes()
    assert (report.images, report.done, report.failed, report.pending) == (15, 12, 3, 0)
    assert store.verify().problems == ()
    assert before == [shard_bytes(source) for source in sources if (source.path / "shards").exists()]


def test_parts_that_are_not_done_give_what_they_have(tmp_path):
    sources = [part(tmp_path / "0", range(0, 6)), part(tmp_path / "1", range(9, 12))]
    report = merge_stores(sources, tmp_path / "out")
    assert str(report) == f"{tmp_path / 'out'}: 15 images, 8 done, 1 failed, 6 to do"
    store = MaskStore.open(tmp_path / "out")
    assert [row.index for row in store] == [0, 1, 2, 3, 4, 5, 9, 10, 11]
    assert store.verify().problems == ()
    fill(store, [6, 7, 8, 12, 13, 14], failing=FAILING)
    assert store.status().pending == 0


def test_masks_go_before_a_failure_and_the_first_before_the_others(tmp_path):
    manifest = listing("/photos", {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1})
    sources = [
        labelled(tmp_path / "0", manifest, {"a": "first", "b": "first", "c": 4}),
        labelled(tmp_path / "1", manifest, {"a": "second", "b": 5, "c": 7, "d": "second"}),
        labelled(tmp_path / "2", manifest, {"b": 8, "c": "third"}),
    ]
    merge_stores(sources, tmp_path / "out")
    store = MaskStore.open(tmp_path / "out")
    assert contents(store) == {"a": "error", "b": masks_of(5), "c": masks_of(4), "d": "error"}
    assert [(failure.index, failure.error) for failure in store.failures()] == [(0, "first"), (3, "second")]


# -------------------------------------------------------------------- several listings


def test_stores_of_several_folders_are_sorted_by_path(tmp_path):
    sources = [
        labelled(tmp_path / "0", listing("/data/b", {"x.jpg": 1, "y ü.jpg": 2}), {"x.jpg": 1, "y ü.jpg": "broken"}),
        labelled(tmp_path / "1", listing("/data", {"a.jpg": 3, "b!/z.jpg": 4}, shard_size=2), {"b!/z.jpg": 2}),
        labelled(tmp_path / "2", listing("/data/a", {"x.jpg": 5}), {"x.jpg": 4}),
    ]
    report = merge_stores(sources, tmp_path / "out")
    store = MaskStore.open(tmp_path / "out")
    assert store.manifest == listing(
        "/data", {"a/x.jpg": 5, "a.jpg": 3, "b/x.jpg": 1, "b/y ü.jpg": 2, "b!/z.jpg": 4}, shard_size=4
    )
    assert contents(store) == {
        "a/x.jpg": masks_of(4),
        "b/x.jpg": masks_of(1),
        "b/y ü.jpg": "error",
        "b!/z.jpg": masks_of(2),
    }
    assert store.failures() == [Failure(3, "b/y ü.jpg", "error", "broken")]
    assert store.verify().problems == ()
    assert (report.images, report.done, report.failed, report.pending) == (5, 3, 1, 1)


def test_stores_of_halves_of_a_folder_are_the_store_of_the_folder(tmp_path):
    """As of two lists of files: rows change their place, and shards end elsewhere."""
    names = [f"{folder}/{i:02d}.jpg" for folder in ("a", "a b", "c") for i in range(7)]
    whole = labelled(tmp_path / "whole", listing("/data", dict.fromkeys(names, 9)), {n: i for i, n in enumerate(names)})
    for halves in ((names[:9], names[9:]), (names[::2], names[1::2]), (names[5:], names[:12])):
        sources = [
            labelled(
                tmp_path / f"{halves[0][:2]}{k}",
                listing("/data", dict.fromkeys(half, 9)),
                {name: names.index(name) for name in half},
            )
            for k, half in enumerate(halves)
        ]
        output = tmp_path / f"out{halves[0][:2]}"
        merge_stores(sources, output)
        assert shard_bytes(MaskStore.open(output)) == shard_bytes(whole)
        assert MaskStore.open(output).manifest == whole.manifest


def test_a_whole_shard_of_a_deeper_folder_gets_its_paths(tmp_path):
    names = ["1", "2", "3", "4"]
    labels = {name: int(name) for name in names}
    sources = [
        labelled(tmp_path / folder, listing(f"/data/{folder}", dict.fromkeys(names, 1)), labels) for folder in "ab"
    ]
    merge_stores(sources, tmp_path / "out")
    store = MaskStore.open(tmp_path / "out")
    assert contents(store) == {f"{folder}/{name}": masks_of(int(name)) for folder in "ab" for name in names}
    assert store.verify().problems == ()


def test_one_image_of_many_that_changed(tmp_path):
    sizes = {"a": 1, "b": 1, "c": 1}
    sources = [
        labelled(tmp_path / "0", listing("/data", sizes), {"a": "broken", "b": 4, "c": "broken"}),
        labelled(tmp_path / "1", listing("/data", {**sizes, "c": 2}), {"a": "broken", "b": "broken", "c": 5}),
    ]
    merge_stores(sources, tmp_path / "out")
    assert [entry.bytes for entry in MaskStore.open(tmp_path / "out").manifest.entries] == [1, 1, 2]


def test_an_image_that_changed_has_the_size_of_the_row_that_is_kept(tmp_path):
    manifests = [listing("/data", dict.fromkeys("abcd", size)) for size in (1, 2, 3)]
    sources = [
        labelled(tmp_path / "0", manifests[0], {"a": "broken", "c": 1, "d": "broken"}),
        labelled(tmp_path / "1", manifests[1], {"a": 4, "c": 2}),
        labelled(tmp_path / "2", manifests[2], {"d": "broken", "c": 5}),
    ]
    merge_stores(sources, tmp_path / "out")
    store = MaskStore.open(tmp_path / "out")
    assert [entry.bytes for entry in store.manifest.entries] == [2, 1, 1, 1]
    assert contents(store) == {"a": masks_of(4), "c": masks_of(1), "d": "error"}
    replaced = replace(manifests[0], entries=manifests[0].entries[:3])  # another listing, so that they are sorted in
    merge_stores([labelled(tmp_path / "3", replaced, {}), sources[1]], tmp_path / "out2")
    assert [entry.bytes for entry in MaskStore.open(tmp_path / "out2").manifest.entries] == [2, 1, 2, 2]


def test_a_row_moves_without_its_masks_being_read():
    line = b'{"index":3,"path":"a\\"b","status":"done","masks":{"path":"","index":0}}\n'
    moved = b'{"index":14,"path":"x/\\u00fc.jpg","status":"done","masks":{"path":"","index":0}}\n'
    entry = ImageEntry(14, "x/ü.jpg", 1)
    assert moved_row(line, entry) == moved
    assert moved_row(line.replace(b'"index":3,', b'"index": 3,'), entry) == moved


# -------------------------------------------------------------------- refusing


def test_other_settings_are_refused(tmp_path, whole_store):
    other = manifest_of(15, config={**CONFIG, "seed": 1}, config_hash="other")
    store = labelled(tmp_path / "other", other, {})
    with pytest.raises(StoreError) as caught:
        merge_stores([whole_store, store], tmp_path / "out")
    assert str(caught.value) == (
        f"{whole_store.path} and {store.path} were labelled with different settings and cannot be merged:\n"
        f"  seed: 0 in {whole_store.path}, 1 in {store.path}"
    )
    assert not (tmp_path / "out").exists()


def test_no_store_and_no_free_output(tmp_path, whole_store):
    with pytest.raises(ValueError, match="sources must be at least one store, got none"):
        merge_stores([], tmp_path / "out")
    with pytest.raises(StoreError, match="has labels already; OUTPUT must be a new or an empty folder"):
        merge_stores([whole_store], whole_store.path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(StoreError, match="exists and is not a store"):
        merge_stores([whole_store], tmp_path)


def test_another_order_than_by_path_is_refused_where_it_matters(tmp_path):
    unsorted = labelled(tmp_path / "0", listing("/data", {"b": 1, "a": 1}), {"b": 1, "a": 2})
    assert merge_stores([unsorted, unsorted], tmp_path / "same").done == 2
    other = labelled(tmp_path / "1", listing("/data", {"c": 1}), {"c": 3})
    with pytest.raises(StoreError, match="must be listed by path to be merged with others, but a comes late"):
        merge_stores([unsorted, other], tmp_path / "out")


def test_damage_is_not_passed_on(tmp_path):
    source = part(tmp_path / "0", range(0, 8))
    rows = source.path / "shards" / "000001.jsonl.zst"
    content = bytearray(rows.read_bytes())
    content[20] ^= 4
    rows.write_bytes(content)
    with pytest.raises(StoreError, match=r"000001\.jsonl.zst is not what was written"):
        merge_stores([source], tmp_path / "out")


# -------------------------------------------------------------------- interrupted


@pytest.mark.parametrize("shards", range(4))
def test_an_interrupted_merge_is_not_gone_on_with_by_a_run_and_is_done_again(
    tmp_path, whole_store, monkeypatch, shards
):
    sources = [part(tmp_path / "0", range(0, 6)), part(tmp_path / "1", range(4, 15))]
    write = merging._write

    def killed(store: MaskStore, shard: int, *args: object) -> list[Failure]:
        if shard == shards:
            raise KeyboardInterrupt
        return write(store, shard, *args)

    monkeypatch.setattr(merging, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        merge_stores(sources, tmp_path / "out")
    monkeypatch.undo()
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    assert store.status().pending == 15 - 4 * shards
    with pytest.raises(StoreError, match="the merge that wrote it was interrupted; merge again, or remove"):
        store.writer().__enter__()
    merge_stores(sources, tmp_path / "out")
    assert shard_bytes(MaskStore.open(tmp_path / "out")) == shard_bytes(whole_store)
    assert not (tmp_path / "out" / "merging").exists()
    with MaskStore.open(tmp_path / "out").writer() as writer:
        assert list(writer.pending()) == []


def test_stories_are_written_with_their_shard_and_no_file_of_a_merge_that_was_killed_stays(tmp_path, monkeypatch):
    manifest = listing("/data", dict.fromkeys("abcdefgh", 1))
    source = labelled(tmp_path / "0", manifest, {"a": "broken" * 10_000, "e": 4})
    left = tmp_path / "out" / ".failures.jsonl.1.tmp"
    write = merging._write

    def killed(store: MaskStore, shard: int, *args: object) -> list[Failure]:
        if shard == 1:
            (temporary,) = store.path.glob(".failures.jsonl.*.tmp")
            assert temporary.stat().st_size > 50_000
            shutil.copy(temporary, left)
            shutil.copy(temporary, store.path / "shards" / ".000001.journal.1.tmp")
            raise KeyboardInterrupt
        return write(store, shard, *args)

    monkeypatch.setattr(merging, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        merge_stores([source], tmp_path / "out")
    monkeypatch.undo()
    assert left.exists()
    merge_stores([source], tmp_path / "out")
    store = MaskStore.open(tmp_path / "out")
    assert store.failures() == source.failures()
    assert not [path.name for path in store.path.rglob(".*")]


def test_what_an_interrupted_merge_wrote_of_stores_that_changed_is_replaced(tmp_path, whole_store):
    complete, short = part(tmp_path / "0", range(0, 15)), part(tmp_path / "1", range(0, 10))
    merge_stores([complete], tmp_path / "out")
    (tmp_path / "out" / "merging").touch()
    merge_stores([short], tmp_path / "out")
    assert [row.index for row in MaskStore.open(tmp_path / "out")] == list(range(10))
    assert MaskStore.open(tmp_path / "out").verify().problems == ()
    (tmp_path / "out" / "merging").touch()
    merge_stores([short, complete], tmp_path / "out")
    assert shard_bytes(MaskStore.open(tmp_path / "out")) == shard_bytes(whole_store)


def test_an_output_that_was_made_anew_by_another_merge_is_left_to_it(tmp_path, whole_store, monkeypatch):
    create = MaskStore.create
    other = manifest_of(7)

    def create_and_lose(path: Path, manifest: Manifest) -> MaskStore:
        store = create(path, manifest)
        create(path, other)
        return store

    monkeypatch.setattr(MaskStore, "create", create_and_lose)
    with pytest.raises(StoreError, match="was made anew for other images or settings meanwhile"):
        merge_stores([whole_store], tmp_path / "out")
    assert MaskStore.open(tmp_path / "out").manifest == other


def test_a_store_that_is_being_written_can_be_merged(tmp_path):
    source = MaskStore.create(tmp_path / "0", manifest_of(15))
    with source.writer() as writer:
        writer.write(0, masks_of(0))
        shutil.copytree(source.path, tmp_path / "copy")
        assert merge_stores([source, MaskStore.open(tmp_path / "copy")], tmp_path / "out").done == 1

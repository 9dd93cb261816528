"""Several writers of one store, each with shards of its own."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from pathlib import Path

import pytest

from dico.store import Failure, MaskStore, encode_row
from dico.store.journal import Journal
from dico.store.rows import encode_failed_row
from tests.stores import FAILING, fill, manifest_of, masks_of, shard_bytes


def story(index: int) -> Failure:
    return Failure(index, manifest_of(15).entries[index].path, "decode", "ImageError: broken")


def test_a_writer_of_some_shards_sees_only_these(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    fill(store, [0, 1, 5, 14], failing=(0, 5))
    with store.writer(range(1, 3)) as writer:
        assert writer.shards == range(1, 3)
        assert (writer.count_pending(), list(writer.pending())) == (7, [4, 6, 7, 8, 9, 10, 11])
        assert writer.failed == 1
        assert writer.is_done(5) and not writer.is_done(4)
        writer.fail(story(8))
        writer.write(4, masks_of(4))
        assert (writer.failed, writer.count_pending()) == (2, 5)
        for index, shard in ((3, 0), (12, 3)):
            with pytest.raises(
                IndexError,
                match=rf"must be of an image of shards 1:3, which this writer writes, got {index} of shard {shard}",
            ):
                writer.write(index, masks_of(index))
            with pytest.raises(IndexError):
                writer.fail(story(index))
    assert [failure.index for failure in store.failures()] == [0, 5, 8]
    with store.writer() as writer:
        assert (writer.count_pending(), writer.failed) == (9, 3)


@pytest.mark.parametrize("shards", [range(0), range(2, 2), range(3, 5), range(-1, 2), range(0, 4, 2), range(4, 5)])
def test_shards_that_are_none(tmp_path, shards):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with pytest.raises(ValueError, match=r"shards must be a range A:B with 0 <= A < B <= 4, the number of shards, got"):
        store.writer(shards)


def test_two_ranges_at_once_give_what_one_run_gives(tmp_path, whole_store):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with store.writer(range(0, 2)) as first, store.writer(range(2, 4)) as second:
        for offset in range(8):
            for writer, index in ((first, offset), (second, 8 + offset)):
                if index in FAILING:
                    writer.fail(story(index))
                elif index < 15:
                    writer.write(index, masks_of(index))
        assert (first.failed, second.failed) == (1, 2)
    assert shard_bytes(store) == shard_bytes(whole_store)
    assert store.failures() == whole_store.failures()
    assert (store.failures_path.read_bytes().count(b"\n"), store.verify().problems) == (3, ())


def test_files_that_another_writer_is_about_to_rename_stay(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    shards = store.path / "shards"
    shards.mkdir()
    ours = [".000002.jsonl.zst.77.tmp", ".000002.meta.json.77.tmp", ".000002.journal.77.tmp"]
    others = [".000001.jsonl.zst.77.tmp", ".000003.meta.json.78.tmp"]
    for name in ours + others:
        (shards / name).write_bytes(b"half")
    with store.writer(range(2, 3)):
        assert sorted(path.name for path in shards.iterdir()) == others
    with store.writer():
        assert list(shards.iterdir()) == []


def test_recovering_drops_stories_of_its_own_shards_only(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    fill(store, [8], failing=(8,))
    with store.writer(range(0, 2)) as other:
        other._failures.append(story(2))  # its row is on the way
        with store.writer(range(2, 4)) as recovering:
            recovering._failures.append(story(13))  # this process dies before the row
        with store.writer(range(2, 4)) as recovering:
            assert [failure.index for failure in store.failures()] == [2, 8]
    with store.writer(range(0, 2)):
        assert [failure.index for failure in store.failures()] == [8]


def test_a_story_that_was_cut_short_does_not_swallow_the_next(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with store.writer(range(0, 2)) as writer:
        writer.fail(story(2))
        with open(store.failures_path, "ab") as stream:
            stream.write(b'{"index":13,"path":"su')  # another writer's machine died
        writer.fail(story(3))
    assert [failure.index for failure in store.failures()] == [2, 3]


def drive(folder: str, shards: range, start: object) -> None:
    start.wait(60)
    store = MaskStore.create(folder, manifest_of(15))
    with store.writer(shards) as writer:
        for index in writer.pending():
            writer.fail(story(index)) if index in FAILING else writer.write(index, masks_of(index))


def test_drivers_that_start_together_on_a_new_folder(tmp_path, whole_store):
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    drivers = [
        context.Process(target=drive, args=(str(tmp_path / "new" / "out"), range(shard, shard + 1), start))
        for shard in range(4)
    ]
    for driver in drivers:
        driver.start()
    start.set()
    for driver in drivers:
        driver.join(60)
    assert [driver.exitcode for driver in drivers] == [0, 0, 0, 0]
    store = MaskStore.open(tmp_path / "new" / "out")
    assert shard_bytes(store) == shard_bytes(whole_store)
    assert store.failures() == whole_store.failures()


@pytest.mark.parametrize("seed", range(25))
def test_no_order_of_writes_and_kills_loses_a_row(tmp_path, whole_store, seed):
    """Two writers take turns at random; a kill is a copy of the folder as it is then, with a journal cut at times."""
    rng = random.Random(seed)
    split = rng.randint(1, 3)
    ranges = (range(0, split), range(split, 4))
    folder = tmp_path / "0"
    written: set[int] = set()
    for life in range(6):
        store = MaskStore.create(folder, manifest_of(15))
        assert written <= {row.index for row in store}
        last: dict[Path, int] = {}
        with store.writer(ranges[0]) as first, store.writer(ranges[1]) as second:
            todo = [(writer, index) for writer in (first, second) for index in writer.pending()]
            assert {index for _, index in todo} == set(range(15)) - written
            rng.shuffle(todo)
            for writer, index in todo[: rng.randint(0, 5) if life < 5 else None]:
                if index in FAILING:
                    writer.fail(story(index))
                else:
                    writer.write(index, masks_of(index))
                written.add(index)
                last[folder / "shards" / f"{index // 4:06d}.journal"] = index
            folder = tmp_path / str(life + 1)
            shutil.copytree(store.path, folder)
        torn = [path for path in last if path.exists()]
        if torn and rng.random() < 0.5:
            journal = folder / "shards" / rng.choice(torn).name
            content = journal.read_bytes()
            frame = 8 + len(row_of(last[store.path / "shards" / journal.name]))
            journal.write_bytes(content[: -rng.randint(1, frame)])
            written.discard(last[store.path / "shards" / journal.name])
    store = MaskStore.open(folder)
    with store.writer() as writer:
        for index in writer.pending():  # what the last cut took
            writer.fail(story(index)) if index in FAILING else writer.write(index, masks_of(index))
    assert shard_bytes(store) == shard_bytes(whole_store)
    assert store.failures() == whole_store.failures()


def row_of(index: int) -> bytes:
    if index in FAILING:
        return encode_failed_row(story(index))
    return encode_row(manifest_of(15).entries[index], masks_of(index))


def test_pending_is_looked_up_when_its_turn_comes(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with store.writer() as writer:
        pending = writer.pending()
        assert next(pending) == 0
        writer.write(1, masks_of(1))
        writer.write(5, masks_of(5))
        assert list(pending) == [2, 3, 4, *range(6, 15)]
        assert writer.count_pending() == 13


def test_a_thousand_open_shards_need_no_thousand_open_files(tmp_path):
    import resource

    store = MaskStore.create(tmp_path / "out", manifest_of(3000, shard_size=2))
    (store.path / "shards").mkdir()
    for shard in range(0, 1500):
        journal = Journal(store.path / "shards" / f"{shard:06d}.journal")
        journal.append(encode_row(store.manifest.entries[2 * shard], masks_of(0)))
        journal._stream.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with store.writer() as writer:
            assert writer.count_pending() == 1500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

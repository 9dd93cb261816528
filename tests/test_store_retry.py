"""Trying failed images again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dico.store import Failure, Manifest, MaskStore, StoreError
from tests.stores import fill, manifest_of, masks_of, shard_bytes

# Of four shards of four: the first is complete with two failures, the second has one row to go and a failure, the third
# is complete without failures, the last has a failed row alone.
FAILING = (1, 2, 6, 12)
WRITTEN = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12)


def labelled(folder: Path, failing: tuple[int, ...], indices: tuple[int, ...] = WRITTEN) -> MaskStore:
    store = MaskStore.create(folder, manifest_of(15))
    fill(store, indices, failing=failing)
    return store


@pytest.fixture
def store(tmp_path) -> MaskStore:
    return labelled(tmp_path / "out", FAILING)


@pytest.fixture(scope="module")
def never_failed(tmp_path_factory) -> dict[str, bytes]:
    return shard_bytes(labelled(tmp_path_factory.mktemp("whole") / "out", (), tuple(range(15))))


def finish(store: MaskStore, failing: tuple[int, ...] = (), *, retry_failed: bool = True) -> None:
    with store.writer(retry_failed=retry_failed) as writer:
        for index in writer.pending():
            if index in failing:
                writer.fail(Failure(index, store.manifest.entries[index].path, "error", "again"))
            else:
                writer.write(index, masks_of(index))


def test_failed_images_are_pending_again(store):
    with store.writer() as writer:
        assert list(writer.pending()) == [5, 13, 14]
        assert (writer.count_pending(), writer.failed) == (3, 4)
    with store.writer(retry_failed=True) as writer:
        assert (writer.count_pending(), writer.failed) == (7, 4)
        assert writer.is_done(0) and not writer.is_done(1)
        assert list(writer.pending()) == [1, 2, 5, 6, 12, 13, 14]
        assert (writer.count_pending(), writer.failed) == (7, 0)
        writer.write(12, masks_of(12))
        assert not writer.write(12, masks_of(12))
        writer.fail(Failure(13, "sub/013 ü.jpg", "error", "now"))
        assert (writer.count_pending(), writer.failed) == (5, 1)
        assert list(writer.pending()) == [1, 2, 5, 6, 14]


def test_after_a_retry_the_shards_are_those_of_a_run_that_never_failed(store, never_failed):
    finish(store)
    assert shard_bytes(store) == never_failed
    assert store.failures() == []
    assert store.verify().problems == ()


def test_what_fails_again_has_its_new_story(store, tmp_path):
    finish(store, failing=(2, 12))
    assert [(failure.index, failure.error) for failure in store.failures()] == [(2, "again"), (12, "again")]
    assert store.failures_path.read_bytes().count(b"\n") == 2
    assert [row.index for row in store if row.status == "failed"] == [2, 12]
    finish(store, failing=(2, 12), retry_failed=False)
    assert [failure.index for failure in store.failures()] == [2, 12]


def test_only_the_shards_of_the_range_are_opened_again(store):
    before = shard_bytes(store)
    with store.writer(range(1, 3), retry_failed=True) as writer:
        assert list(writer.pending()) == [5, 6]
        assert writer.count_pending() == 2
    after = shard_bytes(store)
    assert {name for name in before if before[name] != after.get(name)} == {"000001.journal"}
    assert [failure.index for failure in store.failures()] == [1, 2, 12]


def test_shards_that_a_retry_did_not_come_to_stay_as_they_were(store):
    with store.writer(retry_failed=True) as writer:
        assert next(writer.pending()) == 1
    assert [row.index for row in store] == [0, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert [row.index for row in store if row.status == "failed"] == [6, 12]
    assert [failure.index for failure in store.failures()] == [6, 12]


@pytest.mark.parametrize(
    ("stop", "pending", "failed_left", "changed"),
    [
        (0, [], [1, 2, 6, 12], set()),
        (1, [], [1, 2, 6, 12], set()),
        (2, [1], [2, 6, 12], {"000000"}),
        (4, [1, 2], [6, 12], {"000000"}),
        (6, [1, 2, 5], [6, 12], {"000000"}),
        (11, [1, 2, 5, 6], [12], {"000000", "000001"}),
        (99, [1, 2, 5, 6, 12, 13, 14], [], {"000000", "000001", "000003"}),
    ],
)
def test_a_retry_up_to_an_index_gives_up_no_row_beyond_it(store, stop, pending, failed_left, changed):
    before = shard_bytes(store)
    with store.writer(retry_failed=True) as writer:
        assert writer.count_pending(stop) == len(pending)
        assert list(writer.pending(stop)) == pending
        assert writer.count_pending(stop) == len(pending)
        assert (writer.count_pending(), writer.failed) == (7, len(failed_left))
    assert [row.index for row in store if row.status == "failed"] == failed_left
    assert [failure.index for failure in store.failures()] == failed_left
    assert {name[:6] for name in before if shard_bytes(store).get(name) != before[name]} == changed
    assert store.verify().problems == ()


def test_a_retry_that_is_taken_further_drops_what_it_wrote_nowhere(store, never_failed):
    """A shard whose failures are given up in two steps, complete between them."""
    with store.writer(retry_failed=True) as writer:
        assert list(writer.pending(2)) == [1]
        writer.fail(Failure(1, "sub/001 ü.jpg", "error", "again"))
        assert (writer.failed, writer.count_pending(4)) == (4, 1)
        assert list(writer.pending(2)) == []
        assert list(writer.pending(4)) == [2]
        writer.write(2, masks_of(2))
        assert list(writer.pending()) == [5, 6, 12, 13, 14]
        assert (writer.failed, writer.count_pending()) == (1, 5)
    assert [(failure.index, failure.error) for failure in store.failures()] == [(1, "again")]
    finish(store)
    assert shard_bytes(store) == never_failed


def test_a_story_of_an_image_that_was_mended_goes_when_the_retry_was_killed(store, tmp_path):
    with store.writer(retry_failed=True) as writer:
        for index in (1, 2):
            assert index in writer.pending()
        writer.write(1, masks_of(1))
        writer.fail(Failure(2, "sub/002 ü.jpg", "error", "again"))
        shutil.copytree(store.path, tmp_path / "killed")
    killed = MaskStore.open(tmp_path / "killed")
    assert [failure.index for failure in killed.failures()] == [1, 2, 6, 12]
    with killed.writer():
        pass
    assert killed.failures()[0] == Failure(2, "sub/002 ü.jpg", "error", "again")


def test_a_writer_that_could_not_start_drops_no_story(store):
    journal = store.path / "shards" / "000002.journal"
    (store.path / "shards" / "000002.meta.json").unlink()
    journal.write_bytes((store.path / "shards" / "000001.journal").read_bytes())
    with pytest.raises(StoreError, match=r"000002\.journal holds rows of other images; remove it to label them again"):
        store.writer(retry_failed=True).__enter__()
    assert [failure.index for failure in store.failures()] == list(FAILING)


@contextmanager
def copies_at_every_step(folder: Path, copies: Path) -> Iterator[list[Path]]:
    """Copies the folder before every change of a name and every sync, as a kill there would leave it."""
    taken: list[Path] = []
    patch = pytest.MonkeyPatch()

    def with_copy(owner: object, name: str) -> None:
        original = getattr(owner, name)

        def step(*args: object, **kwargs: object) -> object:
            taken.append(shutil.copytree(folder, copies / f"{len(taken):03d} {name}"))
            return original(*args, **kwargs)

        patch.setattr(owner, name, step)

    with_copy(os, "fsync")
    with_copy(Path, "replace")
    with_copy(Path, "unlink")
    try:
        yield taken
    finally:
        patch.undo()


def test_a_kill_at_any_step_of_a_retry_loses_no_good_row(store, tmp_path, never_failed):
    good = {index: masks_of(index) for index in WRITTEN if index not in FAILING}
    with copies_at_every_step(store.path, tmp_path / "copies") as copies:
        finish(store, failing=(6,))
    assert len(copies) > 30
    for copy in copies:
        killed = MaskStore.open(copy)
        rows = {row.index: row.masks for row in killed if row.status == "done"}
        assert good.items() <= rows.items(), copy.name
        assert killed.verify().problems == (), copy.name
        status = killed.status()
        assert (status.done, status.failed) == (len(rows), len(list(killed)) - len(rows))
    for copy in copies[::7]:
        finish(MaskStore.open(copy))
        assert shard_bytes(MaskStore.open(copy)) == never_failed
        assert MaskStore.open(copy).failures() == []


def test_a_kill_at_any_step_of_a_run_leaves_what_was_written(tmp_path, never_failed):
    store = MaskStore.create(tmp_path / "out", manifest_of(15))
    with copies_at_every_step(store.path, tmp_path / "copies") as copies:
        finish(store)
    seen = 0
    for copy in copies:
        killed = MaskStore.open(copy)
        count = len(list(killed))
        assert count >= seen and killed.verify().problems == (), copy.name
        seen = count
    for copy in copies[::7]:
        finish(MaskStore.open(copy), retry_failed=False)
        assert shard_bytes(MaskStore.open(copy)) == never_failed


# -------------------------------------------------------------------- images that were mended have another size


def resized(*indices: int) -> Manifest:
    manifest = manifest_of(15)
    entries = [replace(entry, bytes=999) if entry.index in indices else entry for entry in manifest.entries]
    return replace(manifest, entries=entries)


def test_a_mended_image_may_have_another_size(store, never_failed):
    mended = resized(1, 6)
    with pytest.raises(StoreError, match=r"2 images changed in size: sub/001 ü.jpg, sub/006 ü.jpg"):
        MaskStore.create(store.path, mended)
    assert MaskStore.create(store.path, mended, retry_failed=True).manifest == mended
    assert MaskStore.open(store.path).manifest == mended
    assert [row.index for row in store if row.status == "failed"] == list(FAILING)
    finish(MaskStore.create(store.path, mended, retry_failed=True))
    assert shard_bytes(store) == never_failed
    with pytest.raises(StoreError, match="1 image changed in size"):
        MaskStore.create(store.path, resized(1, 6, 12), retry_failed=True)


def test_an_image_that_is_pending_again_may_be_mended_too(store):
    """As after a retry that was interrupted: the image has no row, and is read when its turn comes."""
    MaskStore.create(store.path, resized(5, 14, 12), retry_failed=True)


@pytest.mark.parametrize("labelled_image", [0, 4, 9])
def test_an_image_that_has_masks_may_not(store, labelled_image):
    before = (store.path / "manifest.jsonl").read_bytes()
    with pytest.raises(StoreError, match="2 images changed in size"):
        MaskStore.create(store.path, resized(1, labelled_image), retry_failed=True)
    other = replace(resized(1), config_hash="other", config={"seed": 1})
    with pytest.raises(StoreError, match="seed: 0 in the store, 1 now"):
        MaskStore.create(store.path, other, retry_failed=True)
    assert (store.path / "manifest.jsonl").read_bytes() == before

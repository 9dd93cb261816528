"""The images of a manifest, kept compactly."""

from __future__ import annotations

import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dico.store import ImageEntry, Manifest
from dico.store.entries import ImageEntries


def test_entries_are_a_sequence_of_image_entries():
    entries = ImageEntries(["a.jpg", "ü/b c.jpg", ""], [3, -1, 2**40])
    expected = (ImageEntry(0, "a.jpg", 3), ImageEntry(1, "ü/b c.jpg", -1), ImageEntry(2, "", 2**40))
    assert len(entries) == 3
    assert tuple(entries) == expected
    assert (entries[0], entries[-1], entries[1:], entries[::-1]) == (
        expected[0],
        expected[2],
        expected[1:],
        expected[::-1],
    )
    assert ImageEntry(1, "ü/b c.jpg", -1) in entries
    assert list(entries.pairs()) == [("a.jpg", 3), ("ü/b c.jpg", -1), ("", 2**40)]
    assert repr(entries) == "ImageEntries(3 images)"
    with pytest.raises(IndexError):
        entries[3]


def test_no_entries():
    assert (len(ImageEntries([], [])), tuple(ImageEntries([], [])), ImageEntries([], [])[:]) == (0, (), ())


def test_sizes_must_be_as_many_as_paths():
    with pytest.raises(ValueError, match=r"sizes must be as many as paths \(2\), got 1"):
        ImageEntries(["a", "b"], [1])


def test_entries_of_any_sequence_are_made_once():
    listed = [ImageEntry(0, "a", 1), ImageEntry(1, "b", 2)]
    entries = ImageEntries.of(listed)
    assert list(entries) == listed
    assert ImageEntries.of(entries) is entries
    with pytest.raises(ValueError, match="entries must have the indices 0, 1, 2"):
        ImageEntries.of(listed[::-1])


def test_where_names_are_cut_matters():
    assert ImageEntries(["ab", "c"], [1, 1]) != ImageEntries(["a", "bc"], [1, 1])
    assert ImageEntries(["ab", "c"], [1, 1]).sha256() != ImageEntries(["a", "bc"], [1, 1]).sha256()
    assert ImageEntries(["a"], [1]) != ImageEntries(["a"], [2])
    assert ImageEntries(["a"], [1]).sha256() != ImageEntries(["a"], [2]).sha256()
    assert ImageEntries(["a"], [1]).same_paths(ImageEntries(["a"], [2]))
    assert ImageEntries(["a", "b", "c"], [1, 2, 3]).resized(ImageEntries(["a", "b", "c"], [1, 0, 4])) == [1, 2]
    assert ImageEntries(["a"], [1]) != (ImageEntry(0, "a", 1),)


names = st.text(st.characters(codec=None), max_size=8)  # lone surrogates too: what Python makes of names in Latin-1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, st.integers(-1, 2**62)), max_size=12))
def test_any_name_comes_back(tmp_path_factory, pairs):
    entries = ImageEntries([path for path, _ in pairs], [size for _, size in pairs])
    assert list(entries.pairs()) == pairs
    assert pickle.loads(pickle.dumps(entries)) == entries
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    manifest = Manifest("/photos", entries, {}, "abc")
    manifest.write(path)
    assert Manifest.read(path) == manifest
    assert manifest.is_in(path)


def test_an_image_takes_little_more_than_its_path(tmp_path):
    path = tmp_path / "manifest.jsonl"
    count = 20_000
    names = (f"train/{i // 1000:06d}/{i:09d}.jpg" for i in range(count))
    Manifest("/photos", ImageEntries(names, range(count)), {}, "abc").write(path)
    tracemalloc.start()
    manifest = Manifest.read(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(manifest.entries) == count
    assert kept / count < 26 + 16 + 4  # the path, two numbers, and what does not grow
    assert peak / count < 150

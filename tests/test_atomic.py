"""Outputs appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dico.atomic import atomic_file, atomic_folder


def test_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with atomic_file(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with atomic_file(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="must be a file"), atomic_file(tmp_path):
        pass


def test_folder_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()  # an empty one may exist
    with atomic_folder(path) as temporary:
        (temporary / "a.txt").write_text("a")
        assert not any(path.iterdir())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (path / "a.txt").read_text() == "a"


def test_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a.txt").write_text("a")
        raise RuntimeError("stop")
    assert not any(tmp_path.iterdir())


def test_folder_refuses_what_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="new or an empty folder"), atomic_folder(tmp_path):
        pass
    with pytest.raises(FileExistsError, match="new or an empty folder"), atomic_folder(tmp_path / "mine.txt"):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"

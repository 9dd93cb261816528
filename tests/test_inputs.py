from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dico.inputs import list_image_names, list_images, path_order


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.JPG",
        "a.png",
        "sub/c.Tiff",
        "sub/deep er/ü.webp",
        "notes.md",
        ".hidden.png",
        ".cache/x.png",
        "d.HEIC",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_is_searched_sorted_and_without_hidden_files(folder):
    assert names(list_images(folder), folder) == ["a.png", "b.JPG", "d.HEIC", "sub/c.Tiff", "sub/deep er/ü.webp"]
    assert list_images(str(folder)) == list_images(folder)
    assert list_image_names(folder) == [str(path) for path in list_images(folder)]


def test_the_folder_that_we_are_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list_image_names(".") == ["a.png", "b.JPG", "d.HEIC", "sub/c.Tiff", "sub/deep er/ü.webp"]
    assert list_image_names("./") == list_image_names("**/*.*") == list_image_names(Path())


@given(st.lists(st.lists(st.text("a. -!0B").map("x{}".format), min_size=1).map("/".join), unique=True))
def test_names_are_sorted_as_paths_are(names):
    names = list({str(Path(name)) for name in names})
    assert sorted(names, key=path_order) == [str(path) for path in sorted(map(Path, names))]


def test_links_are_followed_and_circles_end(folder):
    other = folder / "sub" / "deep er"
    (folder / "linked").symlink_to(folder / "sub", target_is_directory=True)
    (other / "up").symlink_to(folder, target_is_directory=True)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    found = names(list_images(folder), folder)
    assert "gone.jpg" in found
    assert "linked/c.Tiff" in found and len(found) == 6


def test_a_folder_with_an_image_name_is_a_folder(tmp_path):
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "album.jpg" / "a.png").write_bytes(b"")
    assert names(list_images(tmp_path), tmp_path) == ["album.jpg/a.png"]


def test_one_file_whatever_its_name(folder):
    assert list_images(folder / "notes.md") == [folder / "notes.md"]


def test_a_list_is_relative_to_itself(folder, monkeypatch):
    lists = folder / "lists"
    lists.mkdir()
    absolute = folder / "b.JPG"
    (lists / "mine.txt").write_bytes(
        b"\xef\xbb\xbf../a.png\r\n\r\n" + str(absolute).encode() + b"\r\n../a.png\r\n../not there.jpg\r\n"
    )
    monkeypatch.chdir("/")
    found = list_images(lists / "mine.txt")
    assert found == sorted([lists / "../a.png", absolute, lists / "../not there.jpg"])


def test_a_list_of_names_that_are_not_utf8(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"caf\xe9.jpg\n")
    assert list_images(tmp_path / "l.txt") == [tmp_path / b"caf\xe9.jpg".decode("utf-8", "surrogateescape")]


def test_a_pattern(folder):
    assert names(list_images(f"{folder}/**/*.*"), folder) == names(list_images(folder), folder)
    assert names(list_images(f"{folder}/[ab].*"), folder) == ["a.png", "b.JPG"]


def test_a_file_name_that_looks_like_a_pattern(tmp_path):
    path = tmp_path / "scan[1].png"
    path.write_bytes(b"")
    assert list_images(path) == [path]


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere", FileNotFoundError, "nowhere does not exist; INPUT is a folder, an image, a .txt list or a pattern"),
        ("*.jpg", FileNotFoundError, "no file matches the pattern"),
        ("*.md", ValueError, "no image in what the pattern"),
        ("empty", ValueError, "no image in the folder .*empty; known extensions: .*\\.png"),
        ("blank.txt", ValueError, "no image in the list .*blank.txt"),
    ],
)
def test_nothing_found_is_an_error_that_says_where(tmp_path, source, error, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "a.md").write_text("")
    with pytest.raises(error, match=message):
        list_images(f"{tmp_path}/{source}")

import numpy as np
import PIL.Image
import pytest
from PIL.ExifTags import Base

from dico.image import load_image
from tests.training.converters import write_image
from training.data.conversion import image_files
from training.data.conversion.image_files import gather_images, image_size_hw


@pytest.mark.parametrize("orientation", [None, 1, 3, 5, 6, 7, 8])
def test_the_size_is_that_of_the_loaded_image(tmp_path, orientation):
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[Base.Orientation] = orientation
    PIL.Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert image_size_hw(tmp_path / "a.jpg") == load_image(tmp_path / "a.jpg").shape[:2]


def test_what_is_no_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"a\.jpg is not an image"):
        image_size_hw(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        image_size_hw(tmp_path / "b.jpg")


@pytest.fixture
def files(tmp_path):
    names = {"x/a.jpg": tmp_path / "source" / "deep" / "a.jpg", "b.jpg": tmp_path / "source" / "b.jpg"}
    for seed, path in enumerate(names.values()):
        write_image(path, (5, 6 + seed), seed)
    return names


def test_links_survive_that_their_folder_moves(files, tmp_path):
    assert gather_images(files, tmp_path / "out" / "images") == "linked"
    tmp_path.joinpath("moved").mkdir()
    for name in ("source", "out"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    images = tmp_path / "moved" / "out" / "images"
    assert sorted(path.relative_to(images).as_posix() for path in images.rglob("*.jpg")) == ["b.jpg", "x/a.jpg"]
    assert load_image(images / "x" / "a.jpg").shape == (5, 6, 3)


def test_copies_where_they_are_asked_for_and_where_there_are_no_links(files, tmp_path, monkeypatch):
    assert gather_images(files, tmp_path / "first", copy=True) == "copied"

    def refused(*_):
        raise OSError("a privilege is missing")

    monkeypatch.setattr(image_files.Path, "symlink_to", refused)
    assert gather_images(files, tmp_path / "second") == "copied"
    for folder in ("first", "second"):
        for name, file in files.items():
            assert (tmp_path / folder / name).read_bytes() == file.read_bytes()
            assert not (tmp_path / folder / name).is_symlink()


def test_what_is_there_stays_and_what_is_lost_is_mended(files, tmp_path):
    folder = tmp_path / "images"
    gather_images({"b.jpg": files["b.jpg"]}, folder, copy=True)
    before = (folder / "b.jpg").stat().st_mtime_ns
    (folder / "x").mkdir()
    (folder / "x" / "a.jpg").symlink_to(tmp_path / "nowhere.jpg")
    gather_images(files, folder)
    assert not (folder / "b.jpg").is_symlink() and (folder / "b.jpg").stat().st_mtime_ns == before
    assert (folder / "x" / "a.jpg").samefile(files["x/a.jpg"])
    assert sorted(path.name for path in folder.rglob("*")) == ["a.jpg", "b.jpg", "x"]


def test_a_file_that_is_another_is_not_replaced(files, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "b.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"b\.jpg exists and is not .*; remove it, or choose another output"):
        gather_images(files, tmp_path / "images")
    assert (tmp_path / "images" / "b.jpg").read_bytes() == b"mine"

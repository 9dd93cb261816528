import pytest

from training.records import images_folder


@pytest.mark.parametrize("folder", ["labels/images", "labels", ".", "photos"])
def test_images_lie_where_most_of_them_are_found(tmp_path, folder):
    annotations = tmp_path / "labels" / "instances_photos.json"
    for place in ("labels/images", "labels", ".", "photos"):
        (tmp_path / place).mkdir(exist_ok=True, parents=True)
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / folder / name).touch()
    (tmp_path / ("labels/images" if folder != "labels/images" else "photos") / "1.jpg").touch()
    found = images_folder(annotations, ["", "1.jpg", "2.jpg"])
    assert found.samefile(tmp_path / folder)


def test_images_that_are_nowhere_should_be_beside_their_annotations(tmp_path):
    for names in ([], [""], ["1.jpg"]):
        assert images_folder(tmp_path / "a.json", names) == tmp_path / "images"


def test_a_few_images_tell(tmp_path):
    (tmp_path / "late.jpg").touch()
    assert images_folder(tmp_path / "a.json", [*"abcdefghijklmnopqrst", "late.jpg"]) == tmp_path / "images"

"""LVIS v1 val, as its json is described: coco_url in place of file_name, polygons, federated lists."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.training.converters import box_mask, converter, described, mask_of, read, rectangle, write_image
from training.data.catalog import open_source
from training.data.coco_source import CocoSource

lvis = converter("prepare_lvis")
SIZES_HW = {397133: (30, 40), 37777: (24, 32), 391895: (20, 20)}
FOLDERS = {397133: "val2017", 37777: "val2017", 391895: "train2017"}


@pytest.fixture
def release(tmp_path):
    """The json, and COCO's images beside where the output goes."""
    images = [
        {
            "id": key,
            "license": 4,
            "coco_url": f"http://images.cocodataset.org/{FOLDERS[key]}/{key:012d}.jpg",
            "flickr_url": "http://farm9.staticflickr.com/1/2_z.jpg",
            "date_captured": "2013-11-14 17:02:52",
            "height": height,
            "width": width,
            "neg_category_ids": [7],
            "not_exhaustive_category_ids": [3] if key == 37777 else [],
        }
        for key, (height, width) in SIZES_HW.items()
    ]
    two_pieces = [rectangle(1, 1, 5, 5), rectangle(10.5, 10, 4, 4)]
    annotations = [
        {"id": 1, "image_id": 37777, "category_id": 3, "segmentation": [rectangle(2, 3, 8, 6)], "area": 48.5},
        {"id": 2, "image_id": 397133, "category_id": 1203, "segmentation": two_pieces, "area": 41.0},
        {"id": 3, "image_id": 391895, "category_id": 3, "segmentation": [rectangle(0, 0, 5, 5)], "area": 25.0},
        {"id": 4, "image_id": 397133, "category_id": 3, "segmentation": [rectangle(90, 90, 5, 5)], "area": 25.0},
    ]
    for one in annotations:
        one["bbox"] = [0.0, 0.0, 1.0, 1.0]
    categories = [
        {
            "id": key,
            "name": name,
            "synset": f"{name}.n.01",
            "synonyms": [name],
            "def": "naïve, of a définition",
            "frequency": "r",
            "image_count": 2,
            "instance_count": 3,
        }
        for key, name in ((3, "air_conditioner"), (1203, "zucchini"))
    ]
    for key, folder in FOLDERS.items():
        write_image(tmp_path / "coco" / folder / f"{key:012d}.jpg", SIZES_HW[key])
    path = tmp_path / "lvis" / "lvis_v1_val.json"
    path.parent.mkdir()
    content = {"info": {}, "annotations": annotations, "images": images, "licenses": [], "categories": categories}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def change(path, **sections):
    path.write_text(json.dumps(read(path) | sections), encoding="utf-8")


def test_images_of_val2017_alone(release, tmp_path, capsys):
    assert lvis.main([str(release), str(tmp_path / "lvis"), "--expect", "2"]) == 0
    content = read(tmp_path / "lvis" / "annotations.json")
    assert [(image["id"], image["file_name"]) for image in content["images"]] == [
        (37777, "val2017/000000037777.jpg"),
        (397133, "val2017/000000397133.jpg"),
    ]
    assert [one["source_id"] for one in content["annotations"]] == [1, 2]
    assert [category["id"] for category in content["categories"]] == [3, 1203]
    said = capsys.readouterr().err
    assert "2 masks of 2 images" in said
    assert "lies outside of its image" in said


def test_masks_areas_and_federated_lists_are_kept(release, tmp_path):
    lvis.prepare_lvis(release, tmp_path / "lvis", images=tmp_path / "coco", least=2)
    content = read(tmp_path / "lvis" / "annotations.json")
    first, second = content["annotations"]
    assert first["area"] == 48.5
    np.testing.assert_array_equal(mask_of(first), box_mask((24, 32), 2, 3, 8, 6))
    assert mask_of(second).sum() == pytest.approx(41, abs=4)
    assert content["images"][0]["not_exhaustive_category_ids"] == [3]
    assert content["images"][0]["neg_category_ids"] == [7]
    assert content["categories"][1] == {
        "id": 1203, "name": "zucchini", "synset": "zucchini.n.01", "frequency": "r"
    }  # fmt: skip


def test_all_images(release, tmp_path):
    assert lvis.main([str(release), str(tmp_path / "lvis_full"), "--full", "--expect", "3"]) == 0
    content = read(tmp_path / "lvis_full" / "annotations.json")
    assert content["images"][1]["file_name"] == "train2017/000000391895.jpg"
    assert len(content["annotations"]) == 3


def test_coco_and_training_read_what_was_written(release, tmp_path):
    lvis.prepare_lvis(release, tmp_path / "lvis", images=tmp_path / "coco", least=2)
    path = tmp_path / "lvis" / "annotations.json"
    coco = COCO(path)
    assert {key: len(coco.getAnnIds(imgIds=[key])) for key in coco.getImgIds()} == {37777: 1, 397133: 1}
    source = CocoSource(path, images=tmp_path / "coco")
    assert [len(record.read_masks()) for record in source] == [1, 1]
    assert all(record.path.is_file() for record in source)


def test_fewer_images_than_published_are_refused(release, tmp_path, capsys):
    assert lvis.main([str(release), str(tmp_path / "lvis")]) == 1
    assert "2 images of val2017, fewer than the 4,809" in capsys.readouterr().err
    assert lvis.main([str(release), str(tmp_path / "lvis"), "--full"]) == 1
    assert "fewer than the 19,809" in capsys.readouterr().err
    assert not (tmp_path / "lvis" / "annotations.json").exists()


def test_missing_photographs_are_listed(release, tmp_path, capsys):
    (tmp_path / "coco" / "val2017" / "000000037777.jpg").unlink()
    assert lvis.main([str(release), str(tmp_path / "lvis"), "--expect", "2"]) == 1
    said = capsys.readouterr().err
    assert "lacks 1 images" in said
    assert "val2017/000000037777.jpg" in said
    assert not (tmp_path / "lvis" / "annotations.json").exists()


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"images": [{"id": 1, "height": 2, "width": 3}]}, "has neither coco_url nor file_name"),
        (
            {"images": [{"id": 1, "height": 2, "width": 3, "file_name": "COCO_val2014_1.jpg"}]},
            "is neither of train2017",
        ),
        ({"images": [{"id": 1, "coco_url": "http://c/val2017/1.jpg"}]}, "is not an annotation file like COCO's"),
        ({"annotations": [{"id": 1, "image_id": 5, "category_id": 3}]}, "is of image 5, which is not in the file"),
        ({"annotations": [{"id": 1, "image_id": 37777, "category_id": 5}]}, "has the category 5"),
    ],
)
def test_other_files_are_refused(release, tmp_path, capsys, sections, complaint):
    change(release, **sections)
    assert lvis.main([str(release), str(tmp_path / "lvis"), "--expect", "1"]) == 1
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "lvis" / "annotations.json").exists()


def test_a_cut_off_download(release, tmp_path, capsys):
    text = release.read_text(encoding="utf-8")
    release.write_text(text[: len(text) // 3], encoding="utf-8")
    assert lvis.main([str(release), str(tmp_path / "lvis"), "--expect", "1"]) == 1
    assert "fetch it again" in capsys.readouterr().err


def test_wrong_usage():
    with pytest.raises(SystemExit) as stop:
        lvis.main([])
    assert stop.value.code == 2


@pytest.mark.parametrize(("name", "least"), [("lvis", lvis.IN_VAL2017), ("lvis_full", lvis.IN_ALL)])
def test_descriptions(release, tmp_path, monkeypatch, name, least):
    """They expect as many images as the converter does, and find what it writes."""
    notes = described(name, images=least, script="prepare_lvis").notes
    assert any("federated" in note for note in notes)
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path))
    options = ["--full"] if name == "lvis_full" else []
    assert lvis.main([str(release), str(tmp_path / name), "--expect", "2", *options]) == 0
    assert all(record.path.is_file() for record in open_source(name))

"""PartImageNet val (OOD): parts in COCO's format, of kinds that supercategories name; objects are made of them."""

import json

import numpy as np
import pytest

from tests.training.converters import box_mask, converter, described, mask_of, read, rectangle, runs, write_image
from training.data.catalog import open_source

partimagenet = converter("prepare_partimagenet")
SIZE_HW = (30, 40)
HEAD, BODY, FOOT, SNAKE_BODY, CAR_BODY = 0, 1, 2, 19, 24
CROWD_HW = box_mask(SIZE_HW, 30, 20, 5, 5)


def annotation(key, image_id, category_id, segmentation, **others):
    area = sum(polygon[2] * 1.0 for polygon in segmentation if isinstance(polygon, list))
    return {
        "id": key,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": segmentation,
        "area": area,
        "bbox": [0, 0, 3, 3],
        "iscrowd": 0,
    } | others


@pytest.fixture
def content():
    return {
        "images": [
            {"id": 3, "file_name": "n02009229_11045.JPEG", "height": 30, "width": 40},
            {"id": 1, "file_name": "n01740131_4.JPEG", "height": 30, "width": 40},
            {"id": 2, "file_name": "n01740131_77.JPEG", "height": 30, "width": 40},
        ],
        "annotations": [
            annotation(1, 3, HEAD, [rectangle(2, 2, 4, 4)], area=16),
            annotation(2, 3, BODY, [rectangle(6, 2, 10, 8), rectangle(20, 2, 3, 3)], area=0),
            annotation(3, 3, FOOT, [[7.0, 12.0, 9.0, 15.0], rectangle(12, 10, 2, 4)]),
            annotation(4, 3, FOOT, [[7.0, 12.0, 9.0, 15.0]], area=0),
            annotation(5, 3, FOOT, runs(CROWD_HW), iscrowd=1, area=25),
            annotation(6, 3, CAR_BODY, [rectangle(25, 10, 6, 5)]),
            annotation(7, 1, SNAKE_BODY, [rectangle(1, 1, 30, 5)]),
        ],
        "categories": [
            {"id": HEAD, "name": "Quadruped Head", "supercategory": "Quadruped"},
            {"id": BODY, "name": "Quadruped Body", "supercategory": "Quadruped"},
            {"id": FOOT, "name": "Quadruped Foot", "supercategory": "Quadruped"},
            {"id": SNAKE_BODY, "name": "Snake Body", "supercategory": "Snake"},
            {"id": CAR_BODY, "name": "Car Body", "supercategory": "Car"},
        ],
    }


@pytest.fixture
def prepare(tmp_path, content):
    """Runs the command on the content as it is then; gives its exit code."""

    def run(*options, expect=3, images="val/{synset}/{name}", annotations="val.json"):
        for image in content["images"]:
            name = image["file_name"]
            write_image(tmp_path / "set" / images.format(synset=name.partition("_")[0], name=name), SIZE_HW)
        path = tmp_path / "set" / annotations
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
        folder = str(tmp_path / "set")
        return partimagenet.main([folder, folder, "--expect", str(expect), *options])

    return run


@pytest.fixture
def written(prepare, tmp_path):
    assert prepare() == 0
    return read(tmp_path / "set" / "annotations.json")


def test_parts_are_as_in_the_release(written):
    parts = [one for one in written["annotations"] if one["level"] == "part"]
    assert [(one["source_id"], one["image_id"], one["category_id"]) for one in parts] == [
        (7, 1, SNAKE_BODY),
        (1, 3, HEAD),
        (2, 3, BODY),
        (3, 3, FOOT),
        (5, 3, FOOT),
        (6, 3, CAR_BODY),
    ]
    head, body, foot, crowd = parts[1:5]
    assert (head["area"], body["area"]) == (16, 89)  # an area of 0 cannot be right
    np.testing.assert_array_equal(mask_of(foot), box_mask(SIZE_HW, 12, 10, 2, 4))
    assert crowd["iscrowd"] == 1
    np.testing.assert_array_equal(mask_of(crowd), CROWD_HW)


def test_an_object_is_the_union_of_its_parts(written):
    (animal,) = [one for one in written["annotations"] if one["level"] == "object"]
    union_HW = box_mask(SIZE_HW, 2, 2, 4, 4) | box_mask(SIZE_HW, 6, 2, 10, 8)
    union_HW |= box_mask(SIZE_HW, 20, 2, 3, 3) | box_mask(SIZE_HW, 12, 10, 2, 4)
    np.testing.assert_array_equal(mask_of(animal), union_HW)
    assert animal["image_id"] == 3
    names = {category["id"]: category["name"] for category in written["categories"]}
    assert names[animal["category_id"]] == "Quadruped"


def test_every_image_is_listed(written, tmp_path):
    assert [(image["id"], image["file_name"]) for image in written["images"]] == [
        (1, "n01740131_4.JPEG"),
        (2, "n01740131_77.JPEG"),
        (3, "n02009229_11045.JPEG"),
    ]
    assert all((tmp_path / "set" / "images" / image["file_name"]).is_file() for image in written["images"])


def test_what_was_left_out_is_said(prepare, capsys):
    prepare()
    said = capsys.readouterr().err
    assert "7 masks (1 of them crowds) of 3 images" in said
    assert "2 annotations have a polygon of two points, 1 images no annotation" in said


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images/val/{name}", "annotations/val/val.json"),
        ("images/val/{synset}/{name}", "annotations/val.json"),
        ("val/{name}", "val.json"),
        ("{synset}/{name}", "val.json"),
    ],
)
def test_other_places(prepare, tmp_path, images, annotations):
    assert prepare("--copy-images", images=images, annotations=annotations) == 0
    assert not (tmp_path / "set" / "images" / "n01740131_4.JPEG").is_symlink()


def test_fewer_images_than_published(prepare, tmp_path, capsys):
    assert prepare(expect=2956) == 1
    assert "has 3 images, fewer than the 2,956" in capsys.readouterr().err
    assert not (tmp_path / "set" / "annotations.json").exists()


def test_missing_photographs_are_listed(prepare, content, tmp_path, capsys):
    prepare()
    content["images"].append({"id": 8, "file_name": "n02009229_5.JPEG", "height": 30, "width": 40})
    prepare()
    (tmp_path / "set" / "annotations.json").unlink()
    (tmp_path / "set" / "val" / "n02009229" / "n02009229_5.JPEG").unlink()
    folder = str(tmp_path / "set")
    assert partimagenet.main([folder, folder, "--expect", "3"]) == 1
    assert "n02009229/n02009229_5.JPEG" in capsys.readouterr().err
    assert not (tmp_path / "set" / "annotations.json").exists()


def test_no_json_and_no_images(tmp_path, content, capsys):
    assert partimagenet.main([str(tmp_path), str(tmp_path)]) == 1
    assert "extract PartImageNet_OOD.zip there" in capsys.readouterr().err
    (tmp_path / "val.json").write_text(json.dumps(content))
    assert partimagenet.main([str(tmp_path), str(tmp_path), "--expect", "3"]) == 1
    assert "has no image n01740131_4.JPEG" in capsys.readouterr().err


def test_categories_that_do_not_say_whose_part_they_are(prepare, content, capsys):
    del content["categories"][0]["supercategory"]
    assert prepare() == 1
    assert "category Quadruped Head has no supercategory" in capsys.readouterr().err


def test_description(prepare, tmp_path, monkeypatch):
    """It expects as many images as the converter does, and finds what it writes."""
    described("partimagenet", images=partimagenet.IMAGES, script="prepare_partimagenet")
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path))
    assert prepare() == 0
    (tmp_path / "set").rename(tmp_path / "partimagenet")
    assert [len(record.read_masks()) for record in open_source("partimagenet") if record.path.is_file()] == [1, 0, 5]

"""EntitySeg's json as its README describes it: class-agnostic categories beside real ones, things and stuff."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.training.converters import box_mask, code, converter, mask_of, read, rectangle, runs, write_image
from training.data.catalog import open_source

entityseg = converter("prepare_entityseg")
SIZES_HW = {0: (20, 30), 5: (24, 18)}
NAMES = {0: "entity_01_11580/coco_000000322352.jpg", 5: "entity_03_10049/web_7.jpg"}
MASKS = {
    1: box_mask(SIZES_HW[0], 2, 3, 8, 6),
    2: box_mask(SIZES_HW[0], 0, 12, 30, 8),
    3: box_mask(SIZES_HW[5], 1, 1, 5, 9),
    4: box_mask(SIZES_HW[5], 8, 2, 6, 6),
}
CATEGORIES = [
    {"supercategory": "entity", "id": 0, "name": "unknown", "c_name": "未知物", "type": "thing"},
    {"supercategory": "person", "id": 1, "name": "man", "c_name": "男人", "type": "thing"},
    {"supercategory": "inanimate_natural_objects", "id": 3, "name": "sky", "c_name": "天空", "type": "stuff"},
]


def release(folder, categories=CATEGORIES, **changed):
    """The json; each annotation has one category for all, 0, and its own in ``category_id_ori``."""
    images = [
        {
            "id": key,
            "file_name": NAMES[key],
            "height": height,
            "width": width,
            "img_source": "coco",
            "url_flag": "1",
            "url_dataset": "https://cocodataset.org",
            "url_image": "",
        }
        for key, (height, width) in SIZES_HW.items()
    ]
    of_image = {1: 0, 2: 0, 3: 5, 4: 5}
    segmentations = {1: code(MASKS[1]), 2: runs(MASKS[2]), 3: [rectangle(1, 1, 5, 9)], 4: code(MASKS[4])}
    real = {1: "1", 2: "3", 3: "man", 4: "no such"}
    annotations = [
        {
            "id": n,
            "image_id": of_image[n],
            "category_id": 0,
            "category_id_ori": real[n],
            "segmentation": segmentations[n],
            "area": 1,
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
        }
        for n in MASKS
    ]
    path = folder / "entityseg_val_lr.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories} | changed))
    return path


@pytest.fixture
def source(tmp_path):
    """The json, and the images beside it; one archive has a folder more than the json says."""
    path = release(tmp_path / "download")
    write_image(path.parent / "images_lr" / NAMES[0], SIZES_HW[0])
    write_image(path.parent / "images_lr" / "entity_03_10049" / "images_03_10049" / "web_7.jpg", SIZES_HW[5])
    write_image(path.parent / "images_lr" / "entity_02_11598" / "images" / "not_of_val.jpg", (9, 9))
    return path


def test_entities_of_things_and_stuff(source, tmp_path, capsys):
    output = tmp_path / "entity"
    assert entityseg.main([str(source), str(output), "--expect", "2"]) == 0
    assert "4 masks of 2 images" in capsys.readouterr().err
    coco = COCO(str(output / "annotations.json"))
    assert {key: image["file_name"] for key, image in coco.imgs.items()} == NAMES
    assert [(one["category_id"], one.get("level")) for one in coco.anns.values()] == [
        (1, "thing"),
        (3, "stuff"),
        (1, "thing"),
        (4, None),
    ]
    assert coco.cats[3] == {"id": 3, "name": "sky", "supercategory": "inanimate_natural_objects", "type": "stuff"}
    assert coco.cats[4]["name"] == "entity"
    for one in coco.anns.values():
        np.testing.assert_array_equal(mask_of(one), MASKS[one["source_id"]])
        assert one["area"] == MASKS[one["source_id"]].sum()
    found = open_source(str(output))
    assert [record.path.is_file() for record in found] == [True, True]
    assert sorted(path.name for path in (output / "images").rglob("*.jpg")) == ["coco_000000322352.jpg", "web_7.jpg"]


def test_categories_that_are_all_one(source, tmp_path):
    release(source.parent, categories=[{"id": 1, "name": "entity", "supercategory": "entity"}])
    entityseg.prepare_entityseg(source, tmp_path / "entity", images=source.parent / "images_lr", expected=2)
    content = read(tmp_path / "entity" / "annotations.json")
    assert {one["category_id"] for one in content["annotations"]} == {1}
    assert not any("level" in one for one in content["annotations"])


def test_images_that_lie_elsewhere(source, tmp_path):
    (source.parent / "images_lr").rename(tmp_path / "photos")
    arguments = [str(source), str(tmp_path / "entity"), "--expect", "2"]
    assert entityseg.main(arguments) == 1
    assert entityseg.main([*arguments, "--images", str(tmp_path / "photos"), "--copy-images"]) == 0
    assert not (tmp_path / "entity" / "images" / NAMES[0]).is_symlink()


def test_images_that_are_missing_or_ambiguous_are_listed(source, tmp_path, capsys):
    images = source.parent / "images_lr"
    (images / NAMES[0]).unlink()
    write_image(images / "entity_03_10049" / "copy" / "web_7.jpg", SIZES_HW[5])
    assert entityseg.main([str(source), str(tmp_path / "entity"), "--expect", "2"]) == 1
    said = capsys.readouterr().err
    assert "lacks 2 of 2 images; fetch and unpack" in said
    assert f"{NAMES[0]} (missing)" in said and f"{NAMES[5]} (2 files have its name)" in said
    assert not (tmp_path / "entity").exists()


def test_of_two_images_of_one_name_the_folder_decides(source, tmp_path):
    write_image(source.parent / "images_lr" / "entity_01_11580" / "web_7.jpg", (5, 5))
    assert entityseg.main([str(source), str(tmp_path / "entity"), "--expect", "2"]) == 0


def test_images_of_high_resolution_are_refused(source, tmp_path, capsys, monkeypatch):
    write_image(source.parent / "images_lr" / NAMES[0], (40, 60))
    assert entityseg.main([str(source), str(tmp_path / "entity"), "--expect", "2"]) == 1
    said = capsys.readouterr().err
    assert "1 images have another size than their annotations" in said and "(40, 60) (H, W), its" in said
    write_image(source.parent / "images_lr" / NAMES[0], SIZES_HW[0])
    monkeypatch.setattr(entityseg, "LONGEST_PX", 29)
    assert entityseg.main([str(source), str(tmp_path / "entity"), "--expect", "2"]) == 1
    assert "up to 30 pixels, low resolution has at most 29" in capsys.readouterr().err
    assert entityseg.main([str(source), str(tmp_path / "entity"), "--expect", "2", "--high-resolution"]) == 0


@pytest.mark.parametrize(("expected", "message"), [("3", "fewer than the 3"), ("1", "more than the 1 of val")])
def test_another_number_of_images_is_refused(source, tmp_path, capsys, expected, message):
    assert entityseg.main([str(source), str(tmp_path / "entity"), "--expect", expected]) == 1
    assert message in capsys.readouterr().err


def test_masks_of_another_size_and_damaged_files_are_refused(source, tmp_path, capsys):
    arguments = [str(source), str(tmp_path / "entity"), "--expect", "2"]
    wrong = {"id": 1, "image_id": 0, "category_id": 0, "segmentation": code(MASKS[3])}
    release(source.parent, annotations=[wrong])
    assert entityseg.main(arguments) == 1
    assert "image 0 has (20, 30) pixels (H, W), its mask must have as many, got (24, 18)" in capsys.readouterr().err
    source.write_text(source.read_text()[:-40])
    (source.parent / "images_lr").rename(tmp_path / "elsewhere")  # the next step, of which nothing is said yet
    assert entityseg.main(arguments) == 1
    assert "is not an annotation file like COCO's, or is damaged" in capsys.readouterr().err
    source.unlink()
    assert entityseg.main(arguments) == 1
    assert not (tmp_path / "entity" / "annotations.json").exists()
    with pytest.raises(SystemExit) as stop:
        entityseg.main(["--expect"])
    assert stop.value.code == 2

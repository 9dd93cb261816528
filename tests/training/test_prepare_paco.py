"""PACO-LVIS val, as docs/PACO_DATASET.md describes it: objects and parts in one list, told apart in two ways."""

import json

import numpy as np
import pytest

from tests.training.converters import box_mask, code, converter, described, mask_of, read, rectangle, runs, write_image
from training.data.catalog import open_source

paco = converter("prepare_paco")
SIZE_HW = (30, 40)
HANDLE_HW = box_mask(SIZE_HW, 4, 5, 6, 7)
RIM_HW = box_mask(SIZE_HW, 11, 5, 6, 7)


def annotation(key, image_id, category_id, obj_ann_id, segmentation, **others):
    """With the keys that do not matter here, as they are in the release."""
    return {
        "id": key,
        "bbox": [1.0, 1.0, 2.0, 2.0],
        "area": 40.25,
        "category_id": category_id,
        "image_id": image_id,
        "segmentation": segmentation,
        "attribute_ids": [3, 12],
        "dom_color_ids": [],
        "obj_ann_id": obj_ann_id,
        "unknown_color": 0,
        "unknown_pattern_marking": 1,
        "unknown_material": 0,
        "unknown_transparency": 1,
    } | others


@pytest.fixture
def content():
    return {
        "info": {"version": "v1"},
        "images": [
            {
                "id": key,
                "file_name": name,
                "width": 40,
                "height": 30,
                "neg_category_ids": [9],
                "not_exhaustive_category_ids": [],
                "neg_category_ids_attrs": [],
                "not_exhaustive_category_ids_attrs": [],
                "license": 1,
            }
            for key, name in ((11, "train2017/000000000011.jpg"), (5, "val2017/000000000005.jpg"))
        ],
        "annotations": [
            # A part may come before its object, and an object may have none.
            annotation(201, 11, 600, 77, code(HANDLE_HW)),
            annotation(77, 11, 2, 77, [rectangle(3, 4, 20, 12)], area=240.0),
            annotation(202, 11, 601, 77, runs(RIM_HW), iscrowd=1),
            annotation(203, 11, 601, 77, code(np.zeros(SIZE_HW, dtype=np.uint8))),
            annotation(9, 5, 3, 9, [rectangle(1, 1, 9, 9)]),
        ],
        "categories": [
            {
                "supercategory": "OBJECT",
                "id": 2,
                "name": "mug",
                "image_count": 1,
                "synset": "mug.n.04",
                "frequency": "f",
            },
            {"supercategory": "OBJECT", "id": 3, "name": "bench", "image_count": 1, "instance_count": 1},
            {"supercategory": "PART", "id": 600, "name": "mug:handle"},
            {"supercategory": "PART", "id": 601, "name": "mug:rim"},
        ],
        "part_categories": [{"supercategory": "PART", "id": 50, "name": "handle"}],
        "attributes": [{"supercategory": "ATTR", "id": 3, "name": "black"}],
        "attr_type_to_attr_idxs": {"color": [0, 1]},
    }


@pytest.fixture
def prepare(tmp_path, content):
    """Runs the command on the content as it is then; gives its exit code."""
    for image in content["images"]:
        write_image(tmp_path / "coco" / image["file_name"], SIZE_HW)

    def run(expect=2):
        source = tmp_path / "paco" / "annotations" / "paco_lvis_v1_val.json"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(json.dumps(content), encoding="utf-8")
        return paco.main([str(source), str(tmp_path / "paco"), "--expect", str(expect)])

    return run


def test_objects_and_parts(prepare, tmp_path, capsys):
    assert prepare() == 0
    written = read(tmp_path / "paco" / "annotations.json")
    assert [(one["source_id"], one["level"], one["obj_ann_id"]) for one in written["annotations"]] == [
        (201, "part", 77),
        (77, "object", 77),
        (202, "part", 77),
        (9, "object", 9),
    ]
    handle, mug, rim, _ = written["annotations"]
    np.testing.assert_array_equal(mask_of(handle), HANDLE_HW)
    np.testing.assert_array_equal(mask_of(rim), RIM_HW)
    np.testing.assert_array_equal(mask_of(mug), box_mask(SIZE_HW, 3, 4, 20, 12))
    assert (handle["area"], mug["area"]) == (40.25, 240.0)
    assert [one["iscrowd"] for one in written["annotations"]] == [0, 0, 1, 0]
    said = capsys.readouterr().err
    assert "2 objects and 2 parts, while 10,794 and 20,945 were published" in said
    assert "1 without a pixel" in said


def test_images_keep_the_folder_of_coco(prepare, tmp_path):
    prepare()
    written = read(tmp_path / "paco" / "annotations.json")
    assert [image["file_name"] for image in written["images"]] == [
        "val2017/000000000005.jpg",
        "train2017/000000000011.jpg",
    ]
    assert [category["supercategory"] for category in written["categories"]] == ["OBJECT", "OBJECT", "PART", "PART"]


def test_a_part_without_its_object(prepare, content, tmp_path, capsys):
    del content["annotations"][1]
    assert prepare() == 1
    assert "part 201 is of object 77, which is not in the file" in capsys.readouterr().err
    assert not (tmp_path / "paco" / "annotations.json").exists()


def test_category_and_id_that_contradict_one_another(prepare, content, capsys):
    content["annotations"][0]["obj_ann_id"] = 201
    assert prepare() == 1
    assert (
        "annotation 201 has the supercategory PART and the obj_ann_id 201, which contradict" in capsys.readouterr().err
    )


@pytest.mark.parametrize("key", ["obj_ann_id", "supercategory"])
def test_another_data_set(prepare, content, capsys, key):
    for one in (*content["annotations"], *content["categories"]):
        one.pop(key, None)
    assert prepare() == 1
    assert "is not PACO" in capsys.readouterr().err


def test_fewer_images_than_published(prepare, capsys):
    assert prepare(expect=2410) == 1
    assert "has 2 images, fewer than the 2,410" in capsys.readouterr().err


def test_missing_photographs_are_listed(prepare, tmp_path, capsys):
    (tmp_path / "coco" / "train2017" / "000000000011.jpg").unlink()
    assert prepare() == 1
    assert "train2017/000000000011.jpg" in capsys.readouterr().err


def test_description(prepare, tmp_path, monkeypatch):
    """It expects as many images as the converter does, and finds what it writes."""
    described("paco", images=paco.IMAGES, script="prepare_paco")
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path))
    assert prepare() == 0
    # A crowd is no mask.
    assert [len(record.read_masks()) for record in open_source("paco") if record.path.is_file()] == [1, 2]

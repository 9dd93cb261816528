import json
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_rle
from pycocotools.coco import COCO

from dico.mask_codes import encode_mask
from training.data.catalog import open_source
from training.data.conversion.coco_writer import coco_writer

BOX_HW = np.zeros((8, 10), dtype=bool)
BOX_HW[2:5, 3:9] = True
CODE = encode_mask(BOX_HW)
RUNS = coco_rle.frPyObjects({"size": [2, 3], "counts": [1, 4, 1]}, 2, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set" / "annotations.json"


def write(path, *segmentations, size_hw=(8, 10)):
    with coco_writer(path, description="drawn") as writer:
        thing = writer.add_category("thing")
        image = writer.add_image("a/b.jpg", size_hw)
        ids = [writer.add_annotation(image, one, category_id=thing) for one in segmentations]
    return writer, ids, json.loads(path.read_text())


@pytest.mark.parametrize(
    "segmentation",
    [
        BOX_HW,
        BOX_HW.astype(np.uint8),
        CODE,
        {"size": [8, 10], "counts": CODE.decode()},
        {"size": [8, 10], "counts": [26, 3, 5, 3, 5, 3, 5, 3, 5, 3, 5, 3, 11]},
        [[3, 2, 9, 2, 9, 5, 3, 5]],
        [[3, 2, 6, 2, 6, 5, 3, 5], [6, 2, 9, 2, 9, 5, 6, 5]],
    ],
    ids=["bool", "0/1", "code", "compressed", "runs", "polygon", "polygons"],
)
def test_every_way_to_give_a_mask(path, segmentation):
    _, ids, content = write(path, segmentation)
    assert ids == [1]
    (annotation,) = content["annotations"]
    assert annotation == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "area": 18,
        "bbox": [3, 2, 6, 3],
        "segmentation": {"size": [8, 10], "counts": CODE.decode()},
    }
    assert content["info"] == {"description": "drawn"}


def test_pycocotools_and_the_catalogue_read_it(path):
    with coco_writer(path) as writer:
        assert writer.add_category("dog", category_id=7, supercategory="animal") == 7
        assert writer.add_category("tail", level="part") == 8 == writer.add_category("tail", level="part")
        assert writer.add_category("dog") == 7
        assert writer.add_image("second.jpg", (2, 3), image_id=12, licence="none") == 12
        assert writer.add_image("first.jpg", (8, 10), image_id=5) == 5
        assert writer.add_image("bare.jpg", (4, 4)) == 13
        assert writer.add_annotation(5, BOX_HW, category_id=7, level="object") == 1
        assert writer.add_annotation(12, RUNS, category_id=8, level="part") == 2
        assert writer.add_annotation(5, CODE, category_id=7, iscrowd=True) == 3
    assert writer.counts == {"images": 3, "annotations": 3, "crowds": 1, "empty": 0, "damaged": 0}
    assert writer.summary() == "3 masks (1 of them crowds) of 3 images"
    coco = COCO(str(path))
    assert sorted(coco.imgs) == [5, 12, 13] and coco.imgs[12]["licence"] == "none"
    assert coco.cats == {
        7: {"id": 7, "name": "dog", "supercategory": "animal"},
        8: {"id": 8, "name": "tail", "level": "part"},
    }
    np.testing.assert_array_equal(coco.annToMask(coco.anns[1]), BOX_HW)
    np.testing.assert_array_equal(coco.annToMask(coco.anns[2]), [[0, 1, 1], [1, 1, 0]])
    assert [coco.anns[id]["level"] for id in (1, 2)] == ["object", "part"]
    assert {record.key: len(record.read_masks()) for record in open_source(str(path))} == {"5": 1, "12": 1, "13": 0}


def test_masks_without_a_pixel_and_damaged_ones_are_left_out_and_said(path):
    outside, line = [[20, 20, 30, 20, 30, 30]], [[1, 1, 5, 5]]
    short = {"size": [8, 10], "counts": encode_mask(BOX_HW[:, :9]).decode()}
    nothing = {"size": [8, 10], "counts": [80]}
    empty_code = encode_mask(np.zeros((8, 10), dtype=bool))
    writer, ids, content = write(
        path, None, [], ~BOX_HW & BOX_HW, outside, nothing, empty_code, line, short, b"\xff\xff", BOX_HW
    )
    assert ids == [None] * 9 + [1]
    assert writer.counts["empty"] == 6 and writer.counts["damaged"] == 3 and writer.counts["annotations"] == 1
    assert len(content["annotations"]) == 1
    assert len(writer.left_out) == 5 and writer.left_out[0] == "one of image 1 has no mask"
    assert writer.summary().startswith(
        "1 masks of 1 images\nleft out: 6 without a pixel, 3 damaged: one of image 1 has"
    )
    assert writer.summary().endswith("; ...")


def test_a_thin_polygon_that_covers_no_pixel_is_empty(path):
    writer, ids, _ = write(path, [[1, 1, 1, 1, 1, 1]])
    assert ids == [None] and writer.counts["empty"] == 1


@pytest.mark.parametrize(
    "wrong", [BOX_HW.T, {"size": [10, 8], "counts": CODE.decode()}, {"counts": [80]}, BOX_HW[None]]
)
def test_a_mask_of_another_size_stops_the_conversion(path, wrong):
    with pytest.raises(ValueError, match=r"image 1 has \(8, 10\) pixels \(H, W\), its mask must have as many, got \("):
        write(path, wrong)
    assert not path.exists() and not list(path.parent.iterdir())


def test_what_is_not_consistent_is_refused(path):
    with pytest.raises(ValueError, match="two images have the id 3, the second is b"), coco_writer(path) as writer:
        writer.add_image("a.jpg", (1, 1), image_id=3)
        writer.add_image("b.jpg", (1, 1), image_id=3)
    with pytest.raises(ValueError, match="two categories have the id 3"), coco_writer(path) as writer:
        writer.add_category("cat", category_id=3)
        writer.add_category("dog", category_id=3)
    with pytest.raises(ValueError, match=r"b.jpg must have a positive height and width, got \(0, 4\)"):
        write(path, size_hw=(0, 4))
    with pytest.raises(KeyError, match="image 1 must be added"), coco_writer(path) as writer:
        writer.add_annotation(1, BOX_HW, category_id=writer.add_category("thing"))
    with pytest.raises(KeyError, match="category 9 must be added"), coco_writer(path) as writer:
        writer.add_annotation(writer.add_image("a.jpg", (8, 10)), BOX_HW, category_id=9)
    with pytest.raises(ValueError, match="at least one image"), coco_writer(path):
        pass
    assert not list(path.parent.iterdir())


def test_a_file_that_exists_stays_until_the_new_one_is_whole(path):
    write(path, BOX_HW)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="power"), coco_writer(path) as writer:
        writer.add_image("a.jpg", (8, 10))
        raise RuntimeError("power")
    assert path.read_bytes() == before
    write(path, BOX_HW, CODE)
    assert len(json.loads(path.read_text())["annotations"]) == 2


def test_memory_does_not_grow_with_annotations(path):
    with coco_writer(path) as writer:
        thing, image = writer.add_category("thing"), writer.add_image("a.jpg", (8, 10))
        writer.add_annotation(image, CODE, category_id=thing)
        tracemalloc.start()
        for _ in range(5000):
            writer.add_annotation(image, CODE, category_id=thing, note="x" * 200)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert path.stat().st_size > 1_500_000 and peak < 200_000

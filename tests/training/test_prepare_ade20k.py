"""ADE20K as its two releases write it, drawn small: colours, levels of parts, hidden objects, MATLAB's lists of one."""

import json

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from tests.training.converters import box_mask, converter, mask_of, read, write_image, write_png
from training.data.catalog import open_source
from training.data.conversion.ade20k import STUFF, THINGS

ade20k = converter("prepare_ade20k")
SIZE_HW = (20, 30)
SKY, CAR, WHEEL, RIM = 2420, 401, 3042, 2217
NAMES = {SKY: "sky", CAR: "car, auto, automobile", WHEEL: "wheel", RIM: "rim"}
SKY_MASK = box_mask(SIZE_HW, 0, 0, 30, 6).astype(bool)
CARS = [box_mask(SIZE_HW, 2, 8, 10, 8).astype(bool), box_mask(SIZE_HW, 12, 8, 14, 8).astype(bool)]
WHEELS = [box_mask(SIZE_HW, 3, 13, 3, 3).astype(bool), box_mask(SIZE_HW, 8, 13, 3, 3).astype(bool)]
RIM_MASK = box_mask(SIZE_HW, 4, 14, 1, 1).astype(bool)


def png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def coloured(segments, size_hw=SIZE_HW):
    """A ``_seg.png``: of (category, mask), the blue of the n-th of N is n / N of 255, as in the release."""
    pixels_HW3 = np.zeros((*size_hw, 3), np.uint8)
    for n, (category, mask_HW) in enumerate(segments, start=1):
        pixels_HW3[mask_HW] = (category // 256 * 10, category % 256, round(255 * n / len(segments)))
    return pixels_HW3


def thing(number, category, level, name, **more):
    """An entry of "object" in the json; what is empty in it is a list, as MATLAB writes that."""
    return {
        "id": number,
        "name": NAMES[category],
        "name_ndx": category,
        "hypernym": [],
        "raw_name": NAMES[category],
        "attributes": [],
        "depth_ordering_rank": number + 1,
        "occluded": [],
        "crop": "0",
        "parts": {"hasparts": [], "ispartof": [], "part_level": level},
        "instance_mask": f"{name}/instance_{number:03d}_{name}.png",
        "polygon": {"x": [1, 2, 3], "y": [1, 2, 3], "click_date": []},
        "saved_date": "18-Dec-2005 06:56:48",
        **more,
    }


def about(path, objects):
    content = {"annotation": {"filename": path.stem + ".jpg", "imsize": [*SIZE_HW, 3], "object": objects}}
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def full(tmp_path):
    """Two images of the full release: one with parts of parts, and one whose only object is no list."""
    root = tmp_path / "ADE20K_2021_17_01"
    street = root / "images" / "ADE" / "validation" / "urban" / "street"
    name = "ADE_val_00000007"
    write_image(street / f"{name}.jpg", SIZE_HW)
    png(street / f"{name}_seg.png", coloured([(SKY, SKY_MASK), (CAR, CARS[0]), (CAR, CARS[1])]))
    png(street / f"{name}_parts_1.png", coloured([(WHEEL, WHEELS[0]), (WHEEL, WHEELS[1])]))
    png(street / f"{name}_parts_2.png", coloured([(RIM, RIM_MASK)]))
    levels = [(SKY, 0), (CAR, 0), (CAR, 0), (CAR, 0), (WHEEL, 1), (WHEEL, 1), (RIM, 2)]  # the last car is hidden
    about(street / f"{name}.json", [thing(n, category, level, name) for n, (category, level) in enumerate(levels)])
    other = root / "images" / "ADE" / "validation" / "home" / "attic"
    write_image(other / "ADE_val_00000003.jpg", SIZE_HW, seed=1)
    png(other / "ADE_val_00000003_seg.png", coloured([(SKY, SKY_MASK)]))
    about(other / "ADE_val_00000003.json", thing(0, SKY, 0, "ADE_val_00000003", crop=1))
    (root / "images" / "ADE" / "training").mkdir()
    return root


def test_the_full_release_has_objects_parts_and_parts_of_parts(full, tmp_path, capsys):
    output = tmp_path / "ade"
    assert ade20k.main([str(full), str(output), "--expect", "2"]) == 0
    coco = COCO(str(output / "annotations.json"))
    assert {key: image["file_name"] for key, image in coco.imgs.items()} == {
        3: "ADE_val_00000003.jpg",
        7: "ADE_val_00000007.jpg",
    }
    assert {key: category["name"] for key, category in coco.cats.items()} == NAMES
    found = [(one["category_id"], one["level"], one.get("part_level", 0)) for one in coco.imgToAnns[7]]
    assert sorted(found) == sorted(
        [
            (SKY, "object", 0),
            (CAR, "object", 0),
            (CAR, "object", 0),
            (WHEEL, "part", 1),
            (WHEEL, "part", 1),
            (RIM, "part", 2),
        ]
    )
    expected = {mask.tobytes() for mask in (SKY_MASK, *CARS, *WHEELS, RIM_MASK)}
    assert {mask_of(one).astype(bool).tobytes() for one in coco.imgToAnns[7]} == expected
    assert [one["category_id"] for one in coco.imgToAnns[3]] == [SKY]
    assert "7 masks of 2 images\n1 objects are wholly hidden" in capsys.readouterr().err
    source = open_source(str(output))
    assert [record.path.is_file() for record in source] == [True, True]
    assert sorted(len(record.read_masks()) for record in source) == [1, 6]


def test_parts_may_be_left_out_and_images_copied(full, tmp_path):
    output = tmp_path / "objects"
    assert ade20k.main([str(full), str(output), "--expect", "2", "--no-parts", "--copy-images"]) == 0
    content = read(output / "annotations.json")
    assert len(content["annotations"]) == 4 and {one["level"] for one in content["annotations"]} == {"object"}
    image = output / "images" / "ADE_val_00000007.jpg"
    assert not image.is_symlink() and image.stat().st_size > 0


def test_the_same_call_again_changes_nothing(full, tmp_path):
    output = tmp_path / "ade"
    ade20k.prepare_ade20k(full, output, least=2)
    before = (output / "annotations.json").read_bytes()
    (output / "images" / "ADE_val_00000003.jpg").unlink()  # as if it had been interrupted
    ade20k.prepare_ade20k(full, output, least=2)
    assert (output / "annotations.json").read_bytes() == before
    assert sorted(path.name for path in (output / "images").iterdir()) == [
        "ADE_val_00000003.jpg",
        "ADE_val_00000007.jpg",
    ]


def test_more_objects_than_blue_can_tell_are_read_one_by_one(full, tmp_path):
    street = full / "images" / "ADE" / "validation" / "urban" / "street"
    name = "ADE_val_00000007"
    pixels = [(y, x) for y in range(10) for x in range(26)]
    segments = []
    for n, pixel in enumerate(pixels):
        mask_HW = np.zeros(SIZE_HW, np.uint8)
        mask_HW[pixel] = 255
        mask_HW[19, :] = 128  # something hides it there
        png(street / name / f"instance_{n:03d}_{name}.png", mask_HW)
        segments.append((CAR, mask_HW == 255))
    png(street / f"{name}_seg.png", coloured(segments))
    about(street / f"{name}.json", [thing(n, CAR, 0, name) for n in range(len(pixels))])
    ade20k.prepare_ade20k(full, tmp_path / "ade", least=2)
    masks = [one for one in read(tmp_path / "ade" / "annotations.json")["annotations"] if one["image_id"] == 7]
    assert len(masks) == 260 and {one["area"] for one in masks} == {1}


def test_names_typed_in_latin_1(full, tmp_path):
    path = next(full.rglob("ADE_val_00000003.json"))
    path.write_bytes(path.read_text().replace('"name": "sky"', '"name": "d\u00e9cor"').encode("latin-1"))
    next(full.rglob("ADE_val_00000007.jpg")).unlink()
    ade20k.prepare_ade20k(full, tmp_path / "ade", least=1)
    assert read(tmp_path / "ade" / "annotations.json")["categories"] == [{"id": SKY, "name": "d\u00e9cor"}]


def lose(path):
    path.unlink()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("ADE_val_00000007_seg.png", lose, r"ADE_val_00000007_seg.png is missing; unpack"),
        ("ADE_val_00000007.json", lose, r"ADE_val_00000007.json is missing; unpack"),
        ("ADE_val_00000007_parts_1.png", lose, r"ADE_val_00000007_parts_1.png is missing; unpack"),
        ("ADE_val_00000007_seg.png", lambda path: path.write_bytes(b"PNG"), r"seg.png cannot be read"),
        ("ADE_val_00000007.json", lambda path: path.write_text("{"), r"00007.json is damaged, or not as ADE20K"),
        ("ADE_val_00000007.json", lambda path: about(path, [{"id": 1}]), r"00007.json is damaged.*'parts'"),
        ("ADE_val_00000007.jpg", lambda path: path.write_bytes(b"JPEG"), r"00007.jpg is not an image that can be read"),
        (
            "ADE_val_00000007_seg.png",
            lambda path: png(path, SKY_MASK),
            "_seg.png must have three channels of 8 bits, which are numbers; it is grey, 8 bits a channel",
        ),
        (
            "ADE_val_00000007_seg.png",
            lambda path: png(path, coloured([(SKY, SKY_MASK.T)], SIZE_HW[::-1])),
            r"must have the size of its image, \(20, 30\) \(H, W\), got \(30, 20\)",
        ),
        (
            "ADE_val_00000007_seg.png",
            lambda path: png(path, coloured([(WHEEL, SKY_MASK)])),
            rf"has the categories \[{WHEEL}\], which ADE_val_00000007.json does not name",
        ),
        (
            "ADE_val_00000007_parts_2.png",
            lambda path: png(path, coloured([(RIM, RIM_MASK), (RIM, SKY_MASK)])),
            "parts_2.png has 2 objects, ADE_val_00000007.json only 1",
        ),
    ],
)
def test_a_damaged_source_is_refused_with_a_list(full, tmp_path, capsys, file, change, message):
    change(next(full.rglob(file)))
    assert ade20k.main([str(full), str(tmp_path / "ade"), "--expect", "2"]) == 1
    said = capsys.readouterr().err
    assert "annotations of 1 of 2 images cannot be used (--expect 1 leaves them out" in said
    with pytest.raises(ValueError, match=message):
        ade20k.prepare_ade20k(full, tmp_path / "ade", least=2)
    assert not list((tmp_path / "ade").iterdir())
    assert ade20k.main([str(full), str(tmp_path / "ade"), "--expect", "1"]) == 0
    assert "1 images are left out:" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "ade" / "images").iterdir()] == ["ADE_val_00000003.jpg"]


@pytest.fixture
def challenge(tmp_path):
    """One image of the challenge: two cars that touch, sky, and a part of a car that is no object."""
    root = tmp_path / "ADEChallengeData2016"
    car, sky = 21, 3
    write_image(root / "images" / "validation" / "ADE_val_00000001.jpg", SIZE_HW)
    categories_HW = np.where(SKY_MASK, sky, 0)
    categories_HW[CARS[0] | CARS[1]] = car
    categories_HW[18:, :4] = car
    png(root / "annotations" / "validation" / "ADE_val_00000001.png", categories_HW)
    objects_HW3 = np.zeros((*SIZE_HW, 3), np.uint8)
    objects_HW3[CARS[0]] = (THINGS.index(car) + 1, 1, 0)
    objects_HW3[CARS[1]] = (THINGS.index(car) + 1, 200, 0)
    objects_HW3[15, 20] = (4, 200, 0)  # a pixel of the border with another category
    png(root / "annotations_instance" / "validation" / "ADE_val_00000001.png", objects_HW3)
    rows = ["Idx\tRatio\tTrain\tVal\tName", "3\t0.0878\t8238\t796\tsky", f"{car}\t0.0100\t1\t1\tcar, auto"]
    (root / "objectInfo150.txt").write_text("\n".join(rows) + "\n")
    return root


def test_the_challenge_has_things_and_stuff(challenge, tmp_path):
    assert ade20k.main([str(challenge), str(tmp_path / "ade"), "--expect", "1"]) == 0
    content = read(tmp_path / "ade" / "annotations.json")
    assert content["images"] == [{"id": 1, "file_name": "ADE_val_00000001.jpg", "height": 20, "width": 30}]
    assert content["categories"] == [{"id": 3, "name": "sky"}, {"id": 21, "name": "car, auto"}]
    assert [(one["category_id"], one["isthing"]) for one in content["annotations"]] == [(21, 1), (21, 1), (3, 0)]
    for one, mask_HW in zip(content["annotations"], [*CARS, SKY_MASK], strict=True):
        np.testing.assert_array_equal(mask_of(one), mask_HW)


def test_of_the_challenge_without_stuff_and_without_names(challenge, tmp_path):
    (challenge / "objectInfo150.txt").unlink()
    ade20k.prepare_ade20k(challenge, tmp_path / "ade", stuff=False, least=1)
    content = read(tmp_path / "ade" / "annotations.json")
    assert content["categories"] == [{"id": 21, "name": "category 21"}] and len(content["annotations"]) == 2


def test_objects_whose_categories_are_counted_otherwise_are_refused(challenge, tmp_path):
    path = challenge / "annotations_instance" / "validation" / "ADE_val_00000001.png"
    pixels_HW3 = np.array(PIL.Image.open(path))
    pixels_HW3[..., 0] = np.where(pixels_HW3[..., 1] > 0, 21, 0)  # as if they were counted as scenes are
    png(path, pixels_HW3)
    with pytest.raises(ValueError, match="only 0% of the pixels of objects have their category in annotations"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)
    png(path, np.where(pixels_HW3 == 21, 101, pixels_HW3))
    with pytest.raises(ValueError, match="has the category 101; objects have 1 to 100"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)
    png(challenge / "annotations" / "validation" / "ADE_val_00000001.png", np.full(SIZE_HW, 151))
    with pytest.raises(ValueError, match="has the category 151; there are 150"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)


def test_16_bits_where_the_release_has_8_are_refused_by_name(challenge, tmp_path):
    objects = challenge / "annotations_instance" / "validation" / "ADE_val_00000001.png"
    kept = objects.read_bytes()
    write_png(objects, np.zeros((*SIZE_HW, 3), np.uint16))  # which Pillow opens as if it had 8 bits
    with pytest.raises(ValueError, match=r"1\.png must have three channels of 8 bits.*16 bits a channel\. Save"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)
    objects.write_bytes(kept)
    write_png(challenge / "annotations" / "validation" / "ADE_val_00000001.png", np.full(SIZE_HW, 300, np.uint16))
    with pytest.raises(ValueError, match="must be grey, with a number of 8 bits a pixel; it is grey, 16 bits"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)


def test_what_is_no_release_says_what_is(full, challenge, tmp_path, capsys):
    assert ade20k.main([str(full), str(tmp_path / "ade")]) == 1
    assert "has 2 images, fewer than the 2,000" in capsys.readouterr().err
    assert ade20k.main([str(tmp_path), str(tmp_path / "ade")]) == 1
    assert "neither images/ADE/validation" in capsys.readouterr().err
    (challenge / "annotations_instance").rename(challenge / "gone")
    with pytest.raises(FileNotFoundError, match=r"lacks annotations_instance/validation; of the challenge, fetch"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)
    (challenge / "images" / "validation" / "a").mkdir()
    with pytest.raises(FileNotFoundError, match="an older release of ADE20K; fetch ADE20K_2021_17_01"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=1)
    with pytest.raises(SystemExit) as stop:
        ade20k.main([])
    assert stop.value.code == 2


def test_things_and_stuff_are_all_categories():
    assert len(THINGS) == 100 and sorted((*THINGS, *STUFF)) == list(range(1, 151))
    # Some of the pairs of the file that says which is which.
    assert [THINGS[n - 1] for n in (1, 9, 28, 62, 66, 81, 94, 100)] == [8, 21, 48, 96, 104, 126, 143, 150]

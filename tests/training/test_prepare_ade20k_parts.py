"""Maps of parts as ADE20KPart-234 distributes them, drawn small, beside an image of ADE20K's challenge."""

import json

import numpy as np
import PIL.Image
import pytest

from tests.training.converters import box_mask, converter, mask_of, read, write_image, write_png
from training.data.conversion.ade20k import THINGS
from training.data.conversion.ade20k_parts import FIRST_PART, open_part_maps, read_part_names

ade20k = converter("prepare_ade20k")
SIZE_HW = (20, 30)
CAR, NOTHING = 21, 65_535
CARS = [box_mask(SIZE_HW, 2, 8, 10, 8), box_mask(SIZE_HW, 12, 8, 14, 8)]
WHEELS = [box_mask(SIZE_HW, 3, 13, 3, 3), box_mask(SIZE_HW, 8, 13, 3, 3), box_mask(SIZE_HW, 14, 13, 3, 3)]
BUMPER = box_mask(SIZE_HW, 8, 9, 8, 2)  # half of it is of either car
WINDOW = box_mask(SIZE_HW, 19, 8, 6, 3)
LEAF = box_mask(SIZE_HW, 0, 0, 4, 4)  # in no object
WHEEL_ID, BUMPER_ID, WINDOW_ID, LEAF_ID = 233, 0, 300, 40_000


@pytest.fixture
def challenge(tmp_path):
    """Three images of the challenge with two cars that touch."""
    root = tmp_path / "ADEChallengeData2016"
    for number in (1, 2, 3):
        name = f"ADE_val_{number:08d}"
        write_image(root / "images" / "validation" / f"{name}.jpg", SIZE_HW, seed=number)
        write_png(root / "annotations" / "validation" / f"{name}.png", (CARS[0] | CARS[1]) * np.uint8(CAR))
        objects_HW3 = np.zeros((*SIZE_HW, 3), np.uint8)
        for instance, car_HW in enumerate(CARS, start=1):
            objects_HW3[car_HW > 0] = (THINGS.index(CAR) + 1, instance, 0)
        write_png(root / "annotations_instance" / "validation" / f"{name}.png", objects_HW3)
    return root


def part_map(nothing=NOTHING, kind=np.uint16, drawn=()):
    numbers_HW = np.full(SIZE_HW, nothing, kind)
    for number, mask_HW in drawn:
        numbers_HW[mask_HW > 0] = number
    return numbers_HW


DRAWN = [*((WHEEL_ID, one) for one in WHEELS), (BUMPER_ID, BUMPER), (WINDOW_ID, WINDOW), (LEAF_ID, LEAF)]


@pytest.fixture
def parts(tmp_path):
    """Of the first image a map with parts, of the second one without, of the third none; and one of another image."""
    root = tmp_path / "ADE20KPart234"
    folder = root / "annotations_detectron2_part" / "validation"
    write_png(folder / "ADE_val_00000001.png", part_map(drawn=DRAWN))
    write_png(folder / "ADE_val_00000002.png", part_map())
    write_png(folder / "ADE_val_00000009.png", part_map())
    write_png(root / "annotations_detectron2_obj" / "validation" / "ADE_val_00000001.png", part_map())
    return root


def masks_by_category(path):
    found = {}
    for one in read(path)["annotations"]:
        if one["level"] == "part":
            assert one["image_id"] == 1
            found.setdefault(one["category_id"] - FIRST_PART, []).append(mask_of(one))
    return found


def test_parts_are_one_mask_in_each_object(challenge, parts, tmp_path, capsys):
    output = tmp_path / "ade"
    assert ade20k.main([str(challenge), str(output), "--expect", "3", "--parts", str(parts)]) == 0
    found = masks_by_category(output / "annotations.json")
    expected = {
        BUMPER_ID: [BUMPER & CARS[0], BUMPER & CARS[1]],
        WHEEL_ID: [WHEELS[0] | WHEELS[1], WHEELS[2]],  # two wheels of one car are one mask, as nothing tells them apart
        WINDOW_ID: [WINDOW],
        LEAF_ID: [LEAF],
    }
    assert found.keys() == expected.keys()
    for number, masks in expected.items():
        np.testing.assert_array_equal(found[number], masks)
    content = read(output / "annotations.json")
    assert sum(one["level"] == "object" for one in content["annotations"]) == 6
    named = {one["id"]: one["name"] for one in content["categories"]}
    assert (named[FIRST_PART + LEAF_ID], named[FIRST_PART], named[CAR]) == ("part 40000", "part 0", "category 21")
    told = capsys.readouterr().err
    assert "parts: 2 of 3 images have a map, of 16 bits; the others have no parts (1 maps are of other images)" in told


def test_borders_that_differ_are_no_masks(challenge, parts, tmp_path):
    """A piece goes to the object that has most of it, unless others have their share of it, too."""
    folder = parts / "annotations_detectron2_part" / "validation"
    over = box_mask(SIZE_HW, 3, 9, 10, 2)  # a tenth lies in the other car
    little = box_mask(SIZE_HW, 1, 12, 11, 2)  # a column of eleven lies in no object
    mostly_outside = box_mask(SIZE_HW, 13, 3, 2, 7)
    drawn = [(1, over), (2, little), (3, mostly_outside)]
    write_png(folder / "ADE_val_00000001.png", part_map(drawn=drawn))
    ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=3, part_maps=open_part_maps(folder))
    found = masks_by_category(tmp_path / "ade" / "annotations.json")
    np.testing.assert_array_equal(found[1], [over & CARS[0], over & CARS[1]])
    np.testing.assert_array_equal(found[2], [little])
    np.testing.assert_array_equal(found[3], [mostly_outside])
    over[9:11, 2] = 1  # less than a tenth, now
    write_png(folder / "ADE_val_00000001.png", part_map(drawn=[(1, over)]))
    ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=3, part_maps=open_part_maps(folder))
    np.testing.assert_array_equal(masks_by_category(tmp_path / "ade" / "annotations.json")[1], [over])


def test_maps_of_8_bits_where_that_is_unambiguous(challenge, parts, tmp_path):
    folder = parts / "annotations_detectron2_part" / "validation"
    drawn = [(WHEEL_ID, WHEELS[0]), (0, LEAF)]
    for number, pieces in ((1, drawn), (2, ()), (9, ())):
        write_png(folder / f"ADE_val_0000000{number}.png", part_map(255, np.uint8, pieces))
    ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=3, part_maps=open_part_maps(parts))
    found = masks_by_category(tmp_path / "ade" / "annotations.json")
    assert {number: len(masks) for number, masks in found.items()} == {WHEEL_ID: 1, 0: 1}
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"name {number}" for number in range(256)))
    with pytest.raises(ValueError, match=r"names\.txt names category 255, which maps of 8 bits cannot have"):
        open_part_maps(parts, names)
    write_png(folder / "ADE_val_00000001.png", part_map(0, np.uint8, [(WHEEL_ID, WHEELS[0])]))
    with pytest.raises(ValueError, match=r"1\.png has no pixel of 255, which is 'nothing' in a map of 8 bits; if"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=3, part_maps=open_part_maps(parts))
    write_png(folder / "ADE_val_00000009.png", part_map())
    with pytest.raises(ValueError, match=r"1\.png has 8 bits a pixel and ADE_val_00000009\.png 16"):
        open_part_maps(parts)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (part_map().T, r"must have the size of its image, \(20, 30\) \(H, W\), got \(30, 20\)"),
        (
            np.repeat(part_map()[..., None], 3, axis=2),
            r"must be grey, .* it is of colours, 16 bits a channel",
        ),
        (part_map(0), "has no pixel of 65535, which is 'nothing' in a map of 16 bits; if another number, such as 0"),
    ],
)
def test_maps_that_are_refused_by_name(challenge, parts, tmp_path, pixels, message):
    png = parts / "annotations_detectron2_part" / "validation" / "ADE_val_00000001.png"
    write_png(png, pixels)
    with pytest.raises(ValueError, match=rf"annotations of 1 of 3 images(?s:.*)ADE_val_00000001\.png {message}"):
        ade20k.prepare_ade20k(challenge, tmp_path / "ade", least=3, part_maps=open_part_maps(parts))
    assert not list((tmp_path / "ade").iterdir())


def test_pillow_writes_the_same_maps(parts):
    """What we write by hand is what others' files are: read by Pillow, numbers above 32767 are kept."""
    with PIL.Image.open(parts / "annotations_detectron2_part" / "validation" / "ADE_val_00000001.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture).astype(int), part_map(drawn=DRAWN))


def test_names_of_parts(challenge, parts, tmp_path, capsys):
    text, listed, mapped = tmp_path / "a.txt", tmp_path / "a.json", tmp_path / "b.json"
    text.write_text("bumper of a car\ndoor of a car\n")
    listed.write_text(json.dumps(["bumper of a car", "door of a car"]))
    mapped.write_text(json.dumps({"0": "bumper of a car", "1": "door of a car"}))
    assert read_part_names(text) == read_part_names(listed) == read_part_names(mapped)
    text.write_text("\ufeffbumper of a car\n\nlamp\n\n", encoding="utf-8")  # lines that are empty name nothing
    assert read_part_names(text) == {0: "bumper of a car", 2: "lamp"}
    command = [str(challenge), str(tmp_path / "ade"), "--expect", "3", "--part-names", str(mapped)]
    assert ade20k.main([*command, "--parts", str(parts)]) == 0
    named = {one["id"]: one["name"] for one in read(tmp_path / "ade" / "annotations.json")["categories"]}
    assert named[FIRST_PART] == "bumper of a car" and named[FIRST_PART + WHEEL_ID] == f"part {WHEEL_ID}"
    for content in ("{}", "[1]", "3", '{"a": "b"}', "[", '"leaf"', '[""]', '{"-1": "leaf"}'):
        mapped.write_text(content)
        with pytest.raises(ValueError, match=r"b\.json must have the names of parts: a text with a name a line"):
            read_part_names(mapped)
    with pytest.raises(SystemExit) as stop:
        ade20k.main(command)
    assert stop.value.code == 2 and "--part-names are for --parts" in capsys.readouterr().err


def test_folders_without_maps_of_these_images(challenge, parts, tmp_path, capsys):
    command = [str(challenge), str(tmp_path / "ade"), "--expect", "3", "--parts"]
    assert ade20k.main([*command, str(challenge)]) == 1
    assert "has no maps of parts, ADE_val_*.png, nor annotations_detectron2_part/validation" in capsys.readouterr().err
    folder = parts / "annotations_detectron2_part" / "validation"
    for number in (1, 2):
        (folder / f"ADE_val_0000000{number}.png").unlink()
    assert ade20k.main([*command, str(parts)]) == 1
    assert "is of an image of" in capsys.readouterr().err
    (folder / "ADE_val_00000009.png").write_bytes(b"no PNG")
    assert ade20k.main([*command, str(parts)]) == 1
    assert "ADE_val_00000009.png must be a PNG of 8 or 16 bits a pixel, got no PNG" in capsys.readouterr().err
    full = tmp_path / "full"
    (full / "images" / "ADE" / "validation").mkdir(parents=True)
    write_png(folder / "ADE_val_00000009.png", part_map())
    assert ade20k.main([str(full), *command[1:], str(parts)]) == 1
    assert "is the full release, which has parts of its own; --parts is for the challenge" in capsys.readouterr().err

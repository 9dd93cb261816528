"""SA-1B as it is released: archives of sa_*.jpg and sa_*.json; the images of a list are collected from some of them."""

import gzip
import io
import json
import re
import tarfile

import numpy as np
import PIL.Image
import pytest

from tests.conftest import draw as draw_image
from tests.training.converters import box_mask, code, converter, described, mask_of, read
from training.data.catalog import open_source
from training.data.conversion.sa1b_archives import archives_of, read_ids, released_files
from training.data.conversion.seeded_draw import draw, rank_of

sa1b = converter("prepare_sa1b")
IDS = (11, 25, 11_190, 223_750)
RELEASED = 11_185_362


def size_of(image_id):
    return 20 + image_id % 7, 30


def photograph(image_id):
    stream = io.BytesIO()
    PIL.Image.fromarray(draw_image(image_id % 5, size_of(image_id))).save(stream, "JPEG")
    return stream.getvalue()


def masks_of_image(image_id):
    return [box_mask(size_of(image_id), 1 + image_id % 5, 2, 6, 5), box_mask(size_of(image_id), 0, 0, 30, 4)]


def annotations(image_id, /, **image):
    height, width = size_of(image_id)
    return {
        "image": {"image_id": image_id, "width": width, "height": height, "file_name": f"sa_{image_id}.jpg"} | image,
        "annotations": [
            {
                "bbox": [0, 0, 6, 5],
                "area": int(mask_HW.sum()),
                "segmentation": code(mask_HW),
                "predicted_iou": 0.98,
                "point_coords": [[3.5, 4.5]],
                "crop_box": [0, 0, width, height],
                "id": image_id * 100 + number,
                "stability_score": 0.97,
            }
            for number, mask_HW in enumerate(masks_of_image(image_id))
        ],
    }


def files_of(image_id):
    return {
        f"sa_{image_id}.jpg": photograph(image_id),
        f"sa_{image_id}.json": json.dumps(annotations(image_id)).encode(),
    }


def write_archive(path, files, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("./")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_list(path, ids=IDS):
    path.write_text("# a list\n\n" + "\n".join(map(str, ids)) + "\n")
    return path


@pytest.fixture
def archives(tmp_path):
    """Two archives, one of which is compressed, as downloads have been seen to be in spite of their names."""
    folder = tmp_path / "archives"
    write_archive(folder / "sa_000000.tar", files_of(25) | files_of(7) | files_of(11), "w:gz")
    write_archive(folder / "more" / "sa_000020.tar", files_of(223_750) | files_of(11_190) | {"sa_images_ids": b"1"})
    (folder / "sa_co_gold.tar").write_bytes(b"something else")
    return folder


@pytest.fixture
def run(tmp_path):
    ids = write_list(tmp_path / "ids.txt")

    def run(source, *options, count=4):
        return sa1b.main([str(source), str(tmp_path / "sa1b"), "--ids", str(ids), "--count", str(count), *options])

    return run


def written(tmp_path, name="annotations.json"):
    return read(tmp_path / "sa1b" / name)


def test_a_list_from_archives(archives, run, tmp_path, capsys):
    assert run(archives) == 0
    content = written(tmp_path)
    assert [image["id"] for image in content["images"]] == sorted(IDS)
    assert [image["file_name"] for image in content["images"]] == [f"sa_{image_id}.jpg" for image_id in sorted(IDS)]
    assert {path.name for path in (tmp_path / "sa1b" / "images").iterdir()} == {f"sa_{one}.jpg" for one in IDS}
    for one in content["annotations"]:
        place = one["source_id"] % 100
        np.testing.assert_array_equal(mask_of(one), masks_of_image(one["image_id"])[place])
        assert one["area"] == mask_of(one).sum()
    assert len(content["annotations"]) == 8
    assert "8 masks of 4 images" in capsys.readouterr().err


def test_a_list_from_extracted_folders(run, tmp_path):
    for place, image_id in enumerate(IDS):
        for name, content in files_of(image_id).items():
            folder = tmp_path / "extracted" / (f"sa_00000{place}" if place < 2 else name.partition(".")[2])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    assert run(tmp_path / "extracted") == 0
    assert [image["id"] for image in written(tmp_path)["images"]] == sorted(IDS)


def test_one_archive_after_the_other(archives, run, tmp_path, capsys):
    first, second = archives / "sa_000000.tar", archives / "more" / "sa_000020.tar"
    assert run(first) == 1
    said = capsys.readouterr().err
    assert "2 of 4 images are in" in said
    assert "such as sa_11190; give this command sa_000000.tar, sa_000001.tar, sa_000019.tar, sa_000020.tar" in said
    assert not (tmp_path / "sa1b" / "annotations.json").exists()
    first.unlink()
    assert run(second) == 0
    assert [image["id"] for image in written(tmp_path)["images"]] == sorted(IDS)


def test_archives_that_are_needed_still(archives, run, tmp_path, capsys):
    run(archives / "sa_000000.tar")
    capsys.readouterr()
    options = ["--ids", str(tmp_path / "ids.txt"), "--count", "4", "--archives", str(tmp_path / "sa1b")]
    assert sa1b.main(options) == 0
    assert capsys.readouterr().out.split() == ["sa_000000.tar", "sa_000001.tar", "sa_000019.tar", "sa_000020.tar"]
    assert sa1b.main([*options[:-1], str(tmp_path / "typo")]) == 0
    assert f"archives are needed, as {tmp_path / 'typo'} does not exist yet" in capsys.readouterr().err


def test_an_id_that_the_release_does_not_have(archives, run, tmp_path, capsys):
    assert run(archives, count=3) == 0
    write_list(tmp_path / "ids.txt", (11, 12, 25, 11_190, 223_750))
    assert run(archives, count=3) == 1
    assert "such as sa_12;" in capsys.readouterr().err
    write_list(archives / "sa_images_ids.txt", (7, 11, 25, 11_190, 223_750))
    assert run(archives, count=3) == 0
    assert [image["id"] for image in written(tmp_path)["images"]] == [11, 25, 11_190]


def test_a_damaged_archive(archives, run, tmp_path, capsys):
    whole = gzip.decompress((archives / "sa_000000.tar").read_bytes())
    (archives / "sa_000000.tar").write_bytes(whole[: whole.rindex(b"sa_11.json") + 700])
    assert run(archives) == 1
    said = capsys.readouterr().err
    assert "sa_000000.tar is damaged, or its download was cut off" in said
    assert not (tmp_path / "sa1b" / "annotations.json").exists()
    assert not [path for path in (tmp_path / "sa1b").rglob("*") if path.suffix == ".tmp"]


def test_a_compressed_archive_that_is_cut_off(archives, run, capsys):
    path = archives / "sa_000000.tar"
    path.write_bytes(path.read_bytes()[:-400])
    assert run(archives) == 1
    assert "sa_000000.tar is damaged, or its download was cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"image": {"image_id": 11', "JSONDecodeError"),
        (json.dumps(annotations(11, image_id=12)).encode(), "it is of image 12"),
        (json.dumps(annotations(11, height=9)).encode(), "its image has the size (H, W) (24, 30), not (9, 30)"),
        (b'{"annotations": []}', "KeyError"),
    ],
)
def test_a_damaged_json(archives, run, tmp_path, capsys, content, complaint):
    write_archive(archives / "sa_000000.tar", files_of(25) | files_of(11) | {"sa_11.json": content})
    assert run(archives) == 1
    said = capsys.readouterr().err
    assert "sa_11.json is damaged" in said
    assert complaint in said
    assert not (tmp_path / "sa1b" / "annotations.json").exists()


def test_an_own_draw_has_a_file_of_its_own(archives, run, tmp_path, capsys):
    assert run(archives, "--draw", "2", "--seed", "5") == 0
    content = written(tmp_path, "annotations_drawn.json")
    drawn = [image["id"] for image in content["images"]]
    assert drawn == sorted(draw([7, 11, 25, 11_190, 223_750], 2, 5))
    assert not (tmp_path / "sa1b" / "annotations.json").exists()
    assert "report its figure as sa1b_drawn" in capsys.readouterr().err
    assert "2 of 5 images by seed 5" in content["info"]["description"]
    assert run(archives, "--draw", "9") == 1
    assert "has 5 images with their jsons, fewer than the 9 to draw" in capsys.readouterr().err


def test_an_image_without_its_json_is_not_drawn(tmp_path, run):
    archive = write_archive(tmp_path / "sa_000001.tar", files_of(25) | {"sa_30.jpg": photograph(30)})
    assert run(archive, "--draw", "1") == 0
    assert run(archive, "--draw", "2") == 1


def test_files_that_are_not_there(run, tmp_path, capsys):
    assert run(tmp_path / "nothing") == 1
    assert "It must be a folder of SA-1B's files and archives" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        sa1b.main([str(tmp_path)])
    assert stop.value.code == 2


def test_lines_that_are_no_ids(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("5\nsa_7\n")
    with pytest.raises(ValueError, match=r"line 2, must be the id of an image, such as 223750, got 'sa_7'"):
        list(read_ids(path))


def test_other_files_of_an_archive_are_passed_over(archives):
    found = {(file.image_id, file.suffix) for file in released_files(archives)}
    assert found == {(one, suffix) for one in (7, *IDS) for suffix in ("jpg", "json")}


@pytest.mark.parametrize("image_id", [1, 223_750, 1_543_967, 3_865_365, 11_177_068, RELEASED])
def test_known_places(image_id):
    known = {1: 0, 223_750: 20, 1_543_967: 138, 3_865_365: 345}
    names = archives_of(image_id)
    assert all(re.fullmatch(r"sa_000\d{3}\.tar", name) for name in names)
    assert f"sa_{known.get(image_id, 999):06d}.tar" in names


def test_the_committed_list():
    listed = list(read_ids(sa1b.LIST))
    assert len(listed) == len(set(listed)) == 1010
    assert min(listed) >= 1
    assert max(listed) <= RELEASED
    ranks = [rank_of(image_id, 0) for image_id in listed]
    assert ranks == sorted(ranks)
    # The 1,010th of 11,185,362 evenly spread numbers lies where one expects it, so none can have been left out by many.
    assert int(ranks[-1][:16], 16) / 2**64 == pytest.approx(1010 / RELEASED, rel=0.1)


@pytest.mark.slow
def test_the_committed_list_is_the_draw_of_seed_0():
    assert list(read_ids(sa1b.LIST)) == draw(range(1, RELEASED + 1), 1010, 0)


def test_a_draw_stays_as_it_is_where_ids_are_missing():
    ids = range(1, 5000)
    whole = draw(ids, 50, 3)
    without = draw([one for one in ids if one != whole[7]], 50, 3)
    assert without[:49] == whole[:7] + whole[8:]
    assert draw(ids, 50, 4) != whole
    assert draw([4, 2], 9, 0) == draw([2, 4], 9, 0)


def test_descriptions(archives, run, tmp_path, monkeypatch):
    """The list's expects as many images as the converter does, an own draw has another; each finds what is written."""
    described("sa1b", images=sa1b.IMAGES, script="prepare_sa1b")
    described("sa1b_drawn", images=0, script="prepare_sa1b")
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path))
    assert run(archives) == run(archives, "--draw", "2") == 0
    assert [record.path.is_file() for record in open_source("sa1b")] == [True] * 4
    assert [len(record.read_masks()) for record in open_source("sa1b_drawn")] == [2, 2]

"""Sources and their catalogue: what each format gives, and what each says about bad input."""

from __future__ import annotations

import json
import logging
import pickle
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from dico.ground_truth import load_annotations
from dico.mask_codes import decode_mask, encode_mask
from dico.masks import MaskSet
from dico.store import MaskStore, StoreError
from dico.store.row_reader import RowReader
from tests.conftest import REPOSITORY
from tests.stores import FAILING, fill, make_store, manifest_of, masks_of
from training.data import catalog
from training.data.catalog import describe, expand_suites, locate, open_source, open_sources
from training.data.coco_source import CocoSource
from training.data.sources import ConcatSource, Sa1bSource, StoreSource

BOX_HW = np.zeros((6, 8), dtype=bool)
BOX_HW[1:4, 2:7] = True
BOX = encode_mask(BOX_HW)
POLYGON = [[2, 1, 7, 1, 7, 4, 2, 4]]
COMPRESSED = {"size": [6, 8], "counts": BOX.decode()}
RUNS = {"size": [6, 8], "counts": [13, 3, 3, 3, 3, 3, 3, 3, 3, 3, 8]}


def coco(folder, annotations, *, images=None, **layout):
    """A COCO file; annotations are segmentations of image 7, or whole annotations."""
    folder.mkdir(exist_ok=True)
    if images is None:
        images = [{"id": i, "file_name": f"{i}.jpg", "height": 6, "width": 8} for i in (9, 7)]
    annotations = [
        {"id": i, "image_id": 7, **(one if isinstance(one, dict) and "segmentation" in one else {"segmentation": one})}
        for i, one in enumerate(annotations)
    ]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations}, **layout))
    return path


# ---------------------------------------------------------------- rows of a store in any order


def same(masks, other):
    return masks.to_dict() == other.to_dict()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
@pytest.mark.parametrize("pickled", [False, True])
def test_rows_in_any_order(whole_store, cache_bytes, pickled):
    reader = RowReader(whole_store, cache_bytes=cache_bytes)
    if pickled:
        reader = pickle.loads(pickle.dumps(reader))
    assert reader.labelled().tolist() == [i for i in range(15) if i not in FAILING]
    rows = {row.index: row for row in whole_store}
    for index in np.random.default_rng(0).permutation(15).tolist() * 2:
        row = reader.row(index)
        assert (row.path, row.status) == (rows[index].path, rows[index].status)
        assert row.masks is None if index in FAILING else same(row.masks, masks_of(index))


def test_the_cache_is_bounded_and_is_not_pickled(whole_store):
    reader = RowReader(whole_store, cache_bytes=1)
    small = len(pickle.dumps(reader))
    for index in range(15):
        reader.row(index)
        assert len(reader._lines_by_shard) == 1
    assert len(pickle.dumps(reader)) == small


def test_rows_of_a_store_that_is_being_made(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(12))
    fill(store, (0, 1, 2, 3, 6, 7), failing=(2, 6))
    reader = RowReader(store)
    assert reader.labelled().tolist() == [0, 1, 3, 7] and same(reader.row(7).masks, masks_of(7))
    with pytest.raises(KeyError, match=r"image 5 of .* has no row; go on with dico label"):
        reader.row(5)
    with pytest.raises(IndexError, match="index must be below 12, got 12"):
        reader.row(12)
    source = StoreSource(store.path)
    assert [record.key for record in source] == [f"sub/{i:03d} ü.jpg" for i in (0, 1, 3, 7)]


def test_a_damaged_shard(tmp_path):
    store = MaskStore.create(tmp_path / "out", manifest_of(8))
    fill(store, range(8))
    shard = sorted((store.path / "shards").glob("*.zst"))[1]
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)
    source = StoreSource(store.path)
    assert same(source[0].read_masks(), masks_of(0))
    with pytest.raises(StoreError, match="is damaged"):
        source[5].read_masks()


# ---------------------------------------------------------------- stores


def test_a_store_as_a_source(tmp_path):
    masks = MaskSet.from_arrays(BOX_HW[None])
    store = make_store(tmp_path, {"a.jpg": masks, "b.jpg": "decode", "c/d.jpg": masks[:0], "e.jpg": None})
    source = open_source(str(store.path))
    assert len(source) == 2 and source.name == str(store.path)
    assert [(record.key, record.path) for record in source] == [
        ("a.jpg", tmp_path / "a.jpg"), ("c/d.jpg", tmp_path / "c/d.jpg")
    ]  # fmt: skip
    assert same(source[0].read_masks(), masks) and len(source[-1].read_masks()) == 0
    moved = StoreSource(store.path, images=tmp_path / "elsewhere")
    assert moved[0].path == tmp_path / "elsewhere" / "a.jpg"
    record = pickle.loads(pickle.dumps(source))[0]
    assert same(record.read_masks(), masks)
    with pytest.raises(IndexError):
        source[2]


# ---------------------------------------------------------------- COCO and LVIS


@pytest.mark.parametrize("segmentation", [POLYGON, COMPRESSED, RUNS])
def test_every_way_to_write_a_mask(tmp_path, segmentation):
    source = CocoSource(coco(tmp_path, [segmentation, {"segmentation": COMPRESSED, "iscrowd": 1}]))
    assert [record.key for record in source] == ["7", "9"] and source[1].path == tmp_path / "images" / "9.jpg"
    masks = source[0].read_masks()
    assert masks.size_hw == (6, 8) and len(masks) == 1 and len(source[1].read_masks()) == 0
    np.testing.assert_array_equal(decode_mask((6, 8), masks.rles[0]), BOX_HW)


@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
@pytest.mark.parametrize("annotations_first", [False, True])
def test_annotations_are_found_however_the_file_is_written(tmp_path, layout, annotations_first):
    images = [{"id": i, "file_name": f'ü[{{,"{i}.jpg', "height": 6, "width": 8} for i in (1, 2, 3)]
    annotations = [{"id": i, "image_id": 1 + i % 3, "segmentation": POLYGON, "note": '日本 ], {"'} for i in range(20)]
    content = {"info": {"a": [1, 2]}, "empty": [], "images": images, "annotations": annotations, "categories": [{}]}
    keys = sorted(content) if annotations_first else content
    path = tmp_path / "a.json"
    text = json.dumps({key: content[key] for key in keys}, **layout)
    path.write_bytes(text.replace("\n", "\r\n").encode("utf-8"))
    source = CocoSource(path)
    assert [record.path.name for record in source] == [image["file_name"] for image in images]
    assert [len(record.read_masks()) for record in source] == [7, 7, 6]


def test_what_pycocotools_reads_of_real_annotations(dev_data):
    for name in ("coco_instances", "smoke"):
        path = dev_data / name / "annotations.json"
        source, images = open_source(str(path)), load_annotations(path)
        assert [record.key for record in source] == [str(image.image_id) for image in images]
        for record, image in zip(source, images, strict=True):
            assert record.path.is_file()
            expected = [rle["counts"] for rle in image.to_rle_dicts()]
            counts = [code.encode() if isinstance(code, str) else code for code in expected]
            assert sorted(record.read_masks().rles) == sorted(counts)


def test_lvis_names_images_by_their_address(tmp_path):
    images = [{"id": 3, "coco_url": "http://images.example/train2017/0003.jpg", "height": 6, "width": 8}]
    annotation = {"image_id": 3, "segmentation": POLYGON}
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "0003.jpg").touch()
    (record,) = CocoSource(coco(tmp_path, [annotation], images=images))
    assert record.path == tmp_path / "train2017" / "0003.jpg" and len(record.read_masks()) == 1


def test_images_are_found_where_coco_has_them(tmp_path):
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "7.jpg").touch()
    path = coco(tmp_path / "annotations", [POLYGON], images=[
        {"id": 7, "file_name": "val2017/7.jpg", "height": 6, "width": 8}
    ])  # fmt: skip
    assert CocoSource(path)[0].path.samefile(tmp_path / "val2017" / "7.jpg")
    assert CocoSource(path, images=tmp_path / "x")[0].path == tmp_path / "x" / "val2017" / "7.jpg"


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], "has no mask"),
        ([[1, 2, 3, 4]], "has a polygon that is not"),
        ([[1, 2, 3, 4, 5, 6, 7]], "has a polygon that is not"),
        ([[1, 2, 3, 4, 5, "6"]], "has a polygon that is not"),
        ([[1, 2, 3, 4, 5, float("nan")]], "has a polygon that is not"),
        ([[9, 1, 12, 1, 12, 4]], "lies outside of its image of 6x8 pixels"),
        ([[-5, 1, -2, 1, -2, 4]], "lies outside of its image"),
        ({"size": [8, 6], "counts": BOX.decode()}, "has a mask of another size"),
        ({"size": [6, 8], "counts": [13, 3]}, "has run lengths that do not add up to the 48 pixels"),
        ({"size": [6, 8], "counts": [48]}, "has an empty mask"),
        ({"size": [6, 8], "counts": ""}, "has an empty code"),
        ({"counts": "1"}, "has a mask that is neither"),
        (5, "has a mask that is neither"),
    ],
)
def test_annotations_that_have_no_mask_are_left_out(tmp_path, caplog, segmentation, reason):
    with caplog.at_level(logging.WARNING):
        source = CocoSource(coco(tmp_path, [POLYGON, segmentation]))
    assert len(source[0].read_masks()) == 1
    (fault,) = source.faults
    assert fault.startswith("annotation 1 of image 7 ") and reason in fault
    assert len(caplog.records) == 1 and f"annotations that are left out: 1: {fault}" in caplog.text


@pytest.mark.parametrize("code", ["~", "00", "T1N2", "\u00e9"])
def test_a_damaged_code_is_told_when_its_image_is_read(tmp_path, code):
    source = CocoSource(coco(tmp_path, [POLYGON, {"size": [6, 8], "counts": code}]))
    with pytest.raises(ValueError, match=r"image 7 of .*annotations\.json: the mask of annotation \d is damaged \("):
        source[0].read_masks()


def test_a_polygon_that_reaches_outside_is_cut_off(tmp_path):
    (code,) = CocoSource(coco(tmp_path, [[[4, 3, 99, 3, 99, 99, 4, 99]]]))[0].read_masks().rles
    mask_HW = decode_mask((6, 8), code)
    assert mask_HW[4:, 5:].all() and not mask_HW[:2].any() and not mask_HW[:, :3].any()


IMAGE = {"id": 7, "file_name": "a.jpg", "height": 6, "width": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a COCO annotation file, or is damaged"),
        ("[1]", "is not a COCO annotation file, or is damaged"),
        ('{"images": [], "annotations": [', "is not a COCO annotation file, or is damaged|at least one image"),
        ('{"images": []}', "must be a COCO annotation file with images and annotations"),
        (json.dumps({"images": [], "annotations": []}), "must hold at least one image"),
        (json.dumps({"images": [IMAGE, IMAGE], "annotations": []}), "must give every image an id of its own"),
        (json.dumps({"images": [{**IMAGE, "height": 0}], "annotations": []}), "must give images positive sizes"),
        (json.dumps({"images": [{"id": 7}], "annotations": []}), r"is damaged \(KeyError\('height'\)\)"),
        (json.dumps({"images": [IMAGE], "annotations": [{"id": 1}]}), r"is damaged \(KeyError\('image_id'\)\)"),
        (json.dumps({"images": [IMAGE], "annotations": [{"id": 1, "image_id": 8}]}), "annotation 1 is of image 8, not"),
        (json.dumps({"images": [IMAGE], "annotations": [{"id": 1}]})[:-5], "is damaged"),
        (json.dumps({"images": [IMAGE], "annotations": [5]}), "is damaged"),
    ],
)
def test_files_that_are_not_coco(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        CocoSource(path)
    assert str(path) in str(caught.value)


def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = coco(tmp_path, [POLYGON])
    source = CocoSource(path)
    path.write_text(" " + path.read_text())
    with pytest.raises(ValueError, match=r"annotations\.json was changed since it was opened; start again"):
        source[0].read_masks()


def test_a_source_of_many_annotations_is_small(tmp_path):
    source = CocoSource(coco(tmp_path, [[[2, 1, 7, 1, 7, 4, *[2, 4] * 200]]] * 500))
    assert len(source[0].read_masks()) == 500
    assert len(pickle.dumps(source)) < 20_000 < (tmp_path / "annotations.json").stat().st_size / 10


# ---------------------------------------------------------------- SA-1B


def sa1b(folder, name, annotations, size_hw=(6, 8)):
    folder.mkdir(exist_ok=True, parents=True)
    content = {"image": {"image_id": 1, "height": size_hw[0], "width": size_hw[1]}, "annotations": annotations}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_an_sa1b_folder(tmp_path):
    sa1b(tmp_path / "0", "sa_2", [{"id": 1, "segmentation": COMPRESSED}] * 2)
    sa1b(tmp_path, "sa_1", [])
    for name in ("0/sa_2.jpg", "sa_1.png"):
        PIL.Image.new("RGB", (8, 6)).save(tmp_path / name)
    source = open_source(str(tmp_path))
    assert isinstance(source, Sa1bSource)
    assert [record.key for record in source] == ["0/sa_2.json", "sa_1.json"]
    assert [record.path for record in source] == [tmp_path / "0/sa_2.jpg", tmp_path / "sa_1.png"]
    assert source[0].read_masks().rles == (BOX, BOX) and source[1].read_masks().size_hw == (6, 8)
    assert Sa1bSource(tmp_path, images=tmp_path / "x")[1].path == tmp_path / "x" / "sa_1.jpg"
    assert len(pickle.loads(pickle.dumps(source))[:1]) == 1


def test_contents_of_a_large_folder_are_known_without_a_look_at_the_disk(tmp_path, monkeypatch):
    sa1b(tmp_path, "sa_1", [])
    source, other = Sa1bSource(tmp_path), Sa1bSource(tmp_path, images=tmp_path / "x")
    monkeypatch.setattr(Path, "is_file", lambda path: pytest.fail(f"{path} was looked for"))
    assert source.contents() == other.contents() and source.contents().startswith("1 images, ")
    assert list(source.keys()) == ["sa_1.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged, or not as SA-1B has it"),
        ('{"image": {"width": 3}, "annotations": []}', "is damaged, or not as SA-1B has it"),
        (
            json.dumps({"image": {"height": 6, "width": 9}, "annotations": [{"id": 4, "segmentation": COMPRESSED}]}),
            r"annotation 4 has a mask of another size \(H, W\), \[6, 8\], than its image, \[6, 9\]; mend it or remove",
        ),
    ],
)
def test_damaged_sa1b_files(tmp_path, text, message):
    (tmp_path / "sa_1.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        Sa1bSource(tmp_path)[0].read_masks()
    assert "sa_1.json" in str(caught.value)


# ---------------------------------------------------------------- the catalogue


@pytest.fixture
def described(tmp_path, monkeypatch):
    """A working folder with a COCO file in data/ and a function that describes it as datasets/mine.yaml."""
    monkeypatch.chdir(tmp_path)
    coco(tmp_path / "data", [POLYGON])
    (tmp_path / "datasets").mkdir()
    return (tmp_path / "datasets" / "mine.yaml").write_text


def test_a_name_is_that_of_a_description_whatever_folder_has_it(tmp_path, described):
    described("format: coco\nannotations: ../data/annotations.json\n")
    coco(tmp_path / "mine", [POLYGON, POLYGON])
    assert len(open_source("mine")[0].read_masks()) == 1
    assert len(open_source("./mine")[0].read_masks()) == 2


def test_a_description_by_path_and_by_name(tmp_path, described, monkeypatch):
    described("format: coco\nannotations: ../data/annotations.json\nimages: ../photos\nlicence: CC BY 4.0\n")
    for name in ("mine", "datasets/mine.yaml", str(tmp_path / "datasets" / "mine.yaml")):
        source = open_source(name)
        assert source.name == "mine" and source[0].path.resolve() == tmp_path / "photos" / "7.jpg"
    monkeypatch.setenv("DICO_DATASETS", str(tmp_path / "data"))
    described("format: lvis\nannotations: ${DICO_DATASETS}/annotations.json\nname: other\n")
    assert len(open_source("mine")[0].read_masks()) == 1 and open_source("mine").name == "other"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("format: coco\nannotations: ${DICO_DATASETS}/a.json", ValueError, "variable DICO_DATASETS, which is not set"),
        (
            "format: voc\nannotations: a.json",
            ValueError,
            "format must be one of coco, lvis, panoptic, sa1b, store, got 'voc'",
        ),
        ("format: coco\nannotation: a.json", KeyError, "did you mean annotations"),
        ("format: coco", TypeError, "annotations"),
        ("format: coco\nannotations: 3", TypeError, "annotations must be of type str, got 3"),
        ("- format", ValueError, "must hold a mapping"),
        ("format: coco\nannotations: absent.json", FileNotFoundError, "absent.json, the annotations that .*mine.yaml"),
    ],
)
def test_descriptions_that_are_refused(described, monkeypatch, text, error, message):
    monkeypatch.delenv("DICO_DATASETS", raising=False)
    described(text)
    with pytest.raises(error, match=message) as caught:
        open_source("mine")
    assert "mine.yaml" in str(caught.value)


def test_every_description_of_the_project_can_be_read(monkeypatch):
    for variable in ("DICO_DATASETS", "DICO_DATA"):
        monkeypatch.setenv(variable, "/nowhere")
    names = {path.stem for path in (REPOSITORY / "datasets").glob("*.yaml")}
    suites = {name: expand_suites([name]) for name in ("seven", "dev")}
    assert len(suites["seven"]) == 7 and len(suites["dev"]) == 5
    for name in sorted(names - suites.keys()):
        with pytest.raises(FileNotFoundError, match=r"^/nowhere/.*, the annotations that .* names, does not exist"):
            open_source(name)
        found = describe(name)
        assert found.title and found.prepare and found.notes and found.licence
        scripts = re.findall(r"^python (\S+)", found.prepare)
        assert all((REPOSITORY / script).is_file() for script in scripts)
    for members in suites.values():
        assert names.issuperset(members)


def test_what_a_description_says_beside_where_it_lies(described):
    described("format: coco\nannotations: absent.json\nprepare: make it\nexpected_images: 3\nnotes: [federated]\n")
    found = describe("mine")
    assert (found.prepare, found.expected_images, found.notes) == ("make it", 3, ("federated",))
    assert describe("absent") is None and describe("data") is None
    described("format: coco\nannotations: ../data/annotations.json\ntitle: My set\n")
    assert locate("mine").description.title == "My set"
    described("format: coco\nannotations: a.json\nexpected_images: -1\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: expected_images must be at least 0, got -1"):
        describe("mine")


def test_suites(tmp_path, described):
    described("format: coco\nannotations: ../data/annotations.json\n")
    datasets = tmp_path / "datasets"
    (datasets / "all.yaml").write_text("suite: [mine, data/annotations.json, other.yaml]\n")
    (datasets / "other.yaml").write_text("format: coco\nannotations: absent.json\n")
    members = ("mine", "data/annotations.json", str(Path("datasets/other.yaml")))
    assert expand_suites(["all"]) == expand_suites(["mine", "all", "mine"]) == members
    assert expand_suites(["qqq", "data"]) == ("qqq", "data")
    with pytest.raises(ValueError, match=r"all\.yaml is a suite, of mine, .*; name the data sets themselves"):
        open_source("all")
    (datasets / "suites.yaml").write_text("suite: [all]\n")
    with pytest.raises(ValueError, match=r"suites\.yaml must name data sets, but all is a suite itself"):
        expand_suites(["suites"])
    (datasets / "suites.yaml").write_text("suite: mine\n")
    with pytest.raises(TypeError, match=r"suites\.yaml: suite must be a list"):
        expand_suites(["suites"])


def test_unknown_names(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"no data set has the name 'coco_panoptik'.*did you mean coco_panoptic\?"
    ):
        open_source("coco_panoptik")
    with pytest.raises(FileNotFoundError, match=r"known names: .*coco_panoptic"):
        open_source("qqq")
    with pytest.raises(ValueError, match="is neither a store of dico label"):
        open_source(str(tmp_path))
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").touch()
    with pytest.raises(ValueError, match=r"nor a folder of SA-1B .* name the json itself"):
        open_source(str(tmp_path / "coco"))
    with pytest.raises(ValueError, match="must name at least one data set"):
        open_sources([])
    monkeypatch.setattr(catalog, "DESCRIPTIONS", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="known names: none"):
        open_source("qqq")


def test_several_sources_are_one_list(tmp_path):
    first = coco(tmp_path / "a", [POLYGON])
    store = make_store(tmp_path, {"7": MaskSet.from_arrays(BOX_HW[None])})
    both = open_sources([str(first), str(store.path)])
    assert isinstance(both, ConcatSource) and len(both) == 3
    assert [record.key for record in both] == [f"{first}:7", f"{first}:9", f"{store.path}:7"]
    assert [len(record.read_masks()) for record in both] == [1, 0, 1]
    assert both.name == f"{first}, {store.path}" and repr(both).endswith("3 images)")
    assert len(open_sources([str(first)])) == 2
    with pytest.raises(ValueError, match=r"every source must be named once, got .*annotations\.json more often"):
        open_sources([str(first), str(first)])

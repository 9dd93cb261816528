"""Each format opens in what reads it, and holds what the store holds."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import PIL.Image
import pytest
import yaml
from numpy.typing import NDArray
from pycocotools import mask as coco_rle
from pycocotools.coco import COCO

from dico.export import FORMATS, export_store
from dico.export import parquet as parquet_format
from dico.export.base import label_names
from dico.export.brush import encode_brush
from dico.export.polygons import joined, outlines
from dico.mask_codes import decode_mask
from dico.masks import MaskSet
from dico.store import MaskStore
from tests.reference.brush import decode_brush
from tests.stores import make_store

SIZE_HW = (30, 41)


def blobs(seed: int, count: int, size_hw: tuple[int, int] = SIZE_HW) -> MaskSet:
    """Ragged masks with holes and pieces, in a chain of parents."""
    rng = np.random.default_rng(seed)
    noise_NHW = rng.random((count, size_hw[0] // 5 + 1, size_hw[1] // 5 + 1)).repeat(5, axis=1).repeat(5, axis=2)
    return MaskSet.from_arrays(
        noise_NHW[:, : size_hw[0], : size_hw[1]] > 0.4,
        score=rng.random(count),
        level=np.arange(count),
        theta=np.linspace(0, 1, count) if count else [],
        parent=np.arange(count) - 1,
        source=[f"stage {n}" for n in range(count)],
    )


@pytest.fixture
def store(tmp_path: Path) -> MaskStore:
    """Images in folders, with masks and without, failed, not labelled yet, and with awkward names."""
    labels: dict[str, MaskSet | str | None] = {
        "a/1.jpg": blobs(0, 4),
        "a/bad.jpg": "decode",
        "b/1.jpg": blobs(1, 3, (41, 30)),
        "b/none.png": MaskSet.empty((5, 6)),
        "b/ü <&'\"> %2F.png": blobs(2, 2),
        "c.jpg": None,
    }
    for path in labels:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", SIZE_HW[::-1]).save(tmp_path / path)
    return make_store(tmp_path, labels)


def stored_masks(store: MaskStore) -> dict[str, MaskSet]:
    return {row.path: row.masks for row in store if row.masks is not None}


# ---------------------------------------------------------------- what all formats share


@pytest.mark.parametrize("format", FORMATS)
def test_report_counts_what_was_written_and_left_out(store: MaskStore, tmp_path: Path, format: str) -> None:
    report = export_store(store, format, tmp_path / "out")
    assert (report.format, report.output) == (format, tmp_path / "out")
    assert (report.images, report.masks, report.failed, report.pending) == (4, 9, 1, 1)
    assert "9 masks of 4 images" in str(report) and "images left out: 1 failed, 1 not labelled yet" in str(report)
    assert all(note in str(report) for note in report.notes)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("format", FORMATS)
def test_two_exports_are_equal(store: MaskStore, tmp_path: Path, format: str) -> None:
    def content(output: Path) -> dict[str, bytes]:
        export_store(store, format, output)
        files = [output] if output.is_file() else sorted(path for path in output.rglob("*") if path.is_file())
        return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}

    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("format", FORMATS)
def test_failed_export_leaves_nothing(
    store: MaskStore, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(tmp_path.iterdir())
    good = MaskSet.to_coco if format != "yolo-seg" else MaskSet.iter_decoded

    def breaks(masks: MaskSet, **options: Any) -> Any:
        if masks.size_hw == (41, 30):
            raise RuntimeError("the disk is full")
        return good(masks, **options)

    monkeypatch.setattr(MaskSet, good.__name__, breaks)
    with pytest.raises(RuntimeError, match="disk is full"):
        export_store(store, format, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("format", ["sa1b", "yolo-seg"])
def test_folder_with_content_is_refused(store: MaskStore, tmp_path: Path, format: str) -> None:
    with pytest.raises(FileExistsError, match="new or an empty folder"):
        export_store(store, format, tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["1.jpg", "bad.jpg"]


def test_unknown_format_lists_the_choices(store: MaskStore, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"coco, sa1b, yolo-seg, labelstudio, parquet, got 'yolo'; did you mean yolo-seg"
    ):
        export_store(store, "yolo", tmp_path / "out")


def test_label_names_keep_extensions_only_where_needed() -> None:
    assert label_names(["a/1.jpg", "2"])["a/1.jpg"].as_posix() == "a/1"
    names = label_names(["1.jpg", "1.png", "1.jpg.gif"])
    assert sorted(map(str, names.values())) == ["1.jpg", "1.jpg.gif", "1.png"]


# ---------------------------------------------------------------- COCO


def open_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_coco_opens_in_pycocotools_and_holds_everything(store: MaskStore, tmp_path: Path) -> None:
    export_store(store, "coco", tmp_path / "out.json")
    coco = open_coco(tmp_path / "out.json")
    expected = stored_masks(store)
    assert {image["file_name"] for image in coco.imgs.values()} == expected.keys()
    assert len(coco.anns) == len(coco.dataset["annotations"]) == 9  # the ids are unique
    assert [category["id"] for category in coco.dataset["categories"]] == [1]
    assert coco.dataset["info"]["config_hash"] == "0123456789ab" and coco.dataset["info"]["config"] == {"seed": 0}
    for image in coco.imgs.values():
        masks, found = expected[image["file_name"]], coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert (image["height"], image["width"]) == masks.size_hw
        if found:
            np.testing.assert_array_equal(np.stack([coco.annToMask(one) for one in found]), masks.decode())
        assert [one["score"] for one in found] == pytest.approx(masks.score.tolist())
        assert [one["level"] for one in found] == masks.level.tolist()
        assert [one["theta"] for one in found] == pytest.approx(masks.theta.tolist())
        assert [one["source"] for one in found] == list(masks.source)
        parents = [coco.anns[one["parent"]] if one["parent"] else None for one in found]
        assert [found.index(parent) if parent else -1 for parent in parents] == masks.parent.tolist()
        for one in found:
            assert one["area"] == coco_rle.area(one["segmentation"]) and one["iscrowd"] == 0
            assert one["bbox"] == coco_rle.toBbox(one["segmentation"]).tolist()


def test_coco_of_nothing_is_valid(tmp_path: Path) -> None:
    export_store(make_store(tmp_path, {"1.jpg": "decode"}), "coco", tmp_path / "out.json")
    coco = open_coco(tmp_path / "out.json")
    assert (coco.imgs, coco.anns) == ({}, {})


def test_coco_replaces_an_older_file(store: MaskStore, tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("old")
    export_store(store, "coco", tmp_path / "out.json")
    assert len(open_coco(tmp_path / "out.json").imgs) == 4


# ---------------------------------------------------------------- SA-1B


def test_sa1b_has_one_file_an_image(store: MaskStore, tmp_path: Path) -> None:
    report = export_store(store, "sa1b", tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.json"))
    expected = stored_masks(store)
    assert {path.relative_to(tmp_path / "out").with_suffix("").as_posix() for path in files} == {
        path.rpartition(".")[0] for path in expected
    }
    assert any("no estimate of an IoU" in note and "stability_score" in note for note in report.notes)
    ids = []
    for file in files:
        content = json.loads(file.read_text())
        masks = expected[content["image"]["file_name"]]
        assert content["image"]["height"] == masks.size_hw[0] and content["image"]["width"] == masks.size_hw[1]
        for one, rle, score in zip(content["annotations"], masks.rles, masks.score.tolist(), strict=True):
            assert one.keys() == {"id", "segmentation", "area", "bbox", "predicted_iou"}
            assert one["segmentation"] == {"size": list(masks.size_hw), "counts": rle.decode()}
            assert one["predicted_iou"] == pytest.approx(score)
            assert one["area"] == coco_rle.area(one["segmentation"])
            ids.append(one["id"])
    assert len(set(ids)) == 9


# ---------------------------------------------------------------- YOLO


def filled(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask_HW, structure=np.ones((3, 3))))


def test_yolo_polygons_give_the_masks_without_holes(tmp_path: Path) -> None:
    size_hw = (80, 100)
    y_HW, x_HW = np.mgrid[: size_hw[0], : size_hw[1]]
    ring = (((y_HW - 40) ** 2 + (x_HW - 30) ** 2) <= 25**2) & (((y_HW - 40) ** 2 + (x_HW - 30) ** 2) >= 12**2)
    pieces = np.zeros(size_hw, dtype=bool)
    pieces[5:30, 60:80] = pieces[50:70, 70:95] = pieces[76:, :7] = True
    masks = MaskSet.from_arrays(np.stack([ring, pieces, np.zeros(size_hw, bool), np.ones(size_hw, bool)]))
    store = make_store(tmp_path, {"sub/1.jpg": masks, "sub/empty.jpg": MaskSet.empty(size_hw)})
    report = export_store(store, "yolo-seg", tmp_path / "out")
    assert report.notes[0] == "holes are lost: 1 masks had any; 1 masks in several pieces were bridged."
    assert report.notes[1].startswith("1 masks without a pixel")
    assert (tmp_path / "out" / "labels" / "sub" / "empty.txt").read_text() == ""
    lines = (tmp_path / "out" / "labels" / "sub" / "1.txt").read_text().splitlines()
    assert len(lines) == 3
    for line, mask_HW in zip(lines, (ring, pieces, np.ones(size_hw, bool)), strict=True):
        name, *shares = line.split()
        polygon_P2 = np.array(shares, dtype=float).reshape(-1, 2)
        assert name == "0" and len(polygon_P2) >= 3 and polygon_P2.min() >= 0 and polygon_P2.max() <= 1
        drawn_HW = coco_rle.decode(
            coco_rle.merge(coco_rle.frPyObjects([(polygon_P2 * size_hw[::-1]).ravel().tolist()], *size_hw))
        )
        whole_HW = filled(mask_HW)
        assert (drawn_HW.astype(bool) & whole_HW).sum() / (drawn_HW.astype(bool) | whole_HW).sum() > 0.95


def test_yolo_folder_is_ready_to_train_on(store: MaskStore, tmp_path: Path) -> None:
    export_store(store, "yolo-seg", tmp_path / "out")
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == {0: "object"} and data["train"] == data["val"] == "images"
    images = sorted(path for path in (tmp_path / "out" / "images").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path / "out" / "images").as_posix() for path in images} == stored_masks(store).keys()
    for path in images:
        assert PIL.Image.open(path).size == SIZE_HW[::-1]
        label = str(path).replace("/images/", "/labels/").rpartition(".")[0] + ".txt"  # how Ultralytics finds it
        assert Path(label).is_file()


def test_yolo_images_that_differ_in_their_extension_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path, {"1.jpg": blobs(0, 1), "1.png": blobs(1, 2)})
    export_store(store, "yolo-seg", tmp_path / "out")
    lines = {path.name: len(path.read_text().splitlines()) for path in (tmp_path / "out" / "labels").iterdir()}
    assert lines == {"1.jpg.txt": 1, "1.png.txt": 2}
    assert {path.name for path in (tmp_path / "out" / "images").iterdir()} == {"1.jpg.jpg", "1.png.png"}


def test_yolo_says_so_where_links_are_not_allowed(
    store: MaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(link: Path, target: Path) -> None:
        raise OSError(1, "links are not allowed")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    report = export_store(store, "yolo-seg", tmp_path / "out")
    assert any("links are not allowed" in note and str(tmp_path / "out" / "images") in note for note in report.notes)


def square(y: int, x: int, side: int) -> NDArray[np.bool_]:
    mask_HW = np.zeros((20, 30), dtype=bool)
    mask_HW[y : y + side, x : x + side] = True
    return mask_HW


def shoelace(polygon_P2: NDArray[np.float64]) -> float:
    x_P, y_P = polygon_P2.T
    return float(x_P @ np.roll(y_P, -1) - y_P @ np.roll(x_P, -1)) / 2


@pytest.mark.parametrize(
    ("mask_HW", "n_pieces", "n_holes"),
    [
        (np.zeros((20, 30), dtype=bool), 0, 0),
        (square(19, 29, 1), 1, 0),
        (np.ones((20, 30), dtype=bool), 1, 0),
        (square(2, 2, 9) & ~square(5, 5, 2), 1, 1),
        (square(2, 2, 9) & ~square(3, 3, 2) & ~square(7, 7, 2), 1, 2),
        (square(2, 2, 4) | square(6, 6, 4), 2, 0),  # they touch at a corner
        (square(2, 2, 11) & ~square(3, 3, 9) | square(6, 6, 3), 2, 1),  # an island in a hole
        (np.ones((1, 1), dtype=bool), 1, 0),
    ],
)
def test_outlines_of_pieces_and_holes(mask_HW: NDArray[np.bool_], n_pieces: int, n_holes: int) -> None:
    polygons, found_holes = outlines(mask_HW)
    assert (len(polygons), found_holes) == (n_pieces, n_holes)
    areas = [shoelace(polygon_P2) for polygon_P2 in polygons]
    assert areas == sorted(areas, reverse=True) and all(area > 0 for area in areas)
    if polygons:
        y_P, x_P = np.nonzero(mask_HW)
        low_2, high_2 = np.concatenate(polygons).min(axis=0), np.concatenate(polygons).max(axis=0)
        np.testing.assert_allclose([low_2, high_2], [(x_P.min(), y_P.min()), (x_P.max() + 1, y_P.max() + 1)], atol=0.5)


def test_joined_keeps_the_area_of_all_pieces() -> None:
    polygons, _ = outlines(square(1, 1, 8) | square(3, 15, 5) | square(14, 24, 3))
    assert shoelace(joined(polygons)) == pytest.approx(sum(map(shoelace, polygons)))
    assert joined(polygons[:1]) is polygons[0]


# ---------------------------------------------------------------- Label Studio


def test_labelstudio_regions_hold_the_exact_masks(store: MaskStore, tmp_path: Path) -> None:
    report = export_store(store, "labelstudio", tmp_path / "out.json")
    tasks = json.loads((tmp_path / "out.json").read_text())
    expected = stored_masks(store)
    assert len(tasks) == len(expected)
    assert any("BrushLabels" in note for note in report.notes) and any(str(tmp_path) in note for note in report.notes)
    for task in tasks:
        path = unquote(task["data"]["image"].removeprefix("/data/local-files/?d="))
        masks, (prediction,) = expected[path], task["predictions"]
        ids = [region["id"] for region in prediction["result"]]
        assert len(set(ids)) == len(masks)
        for n, (region, mask_HW) in enumerate(zip(prediction["result"], masks.iter_decoded(), strict=True)):
            assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", "label", "image")
            assert (region["original_height"], region["original_width"]) == masks.size_hw
            assert region["value"]["format"] == "rle" and region["value"]["brushlabels"] == ["object"]
            np.testing.assert_array_equal(decode_brush(region["value"]["rle"], masks.size_hw), mask_HW)
            assert region.get("parentID") == (ids[masks.parent[n]] if masks.parent[n] >= 0 else None)


@pytest.mark.parametrize("density", [0, 0.01, 0.5, 1])
@pytest.mark.parametrize("size_hw", [(1, 1), (7, 5), (150, 200)])
def test_brush_code_round_trips(density: float, size_hw: tuple[int, int]) -> None:
    mask_HW = np.random.default_rng(0).random(size_hw) < density
    np.testing.assert_array_equal(decode_brush(encode_brush(mask_HW), size_hw), mask_HW)


# ---------------------------------------------------------------- parquet


def test_parquet_has_one_row_a_mask(store: MaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="the parquet format needs pyarrow")
    monkeypatch.setattr(parquet_format, "ROWS_PER_GROUP", 3)
    export_store(store, "parquet", tmp_path / "out.parquet")
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.metadata.num_row_groups == 3  # of 4, 3 and 2 masks: one image at a time
    assert file.schema_arrow.metadata[b"dico.config_hash"] == b"0123456789ab"
    rows = file.read().to_pylist()
    assert [row["mask_id"] for row in rows] == list(range(1, 10))
    for path, masks in stored_masks(store).items():
        mine = [row for row in rows if row["file_name"] == path]
        assert len(mine) == len(masks)
        for n, row in enumerate(mine):
            mask_HW = decode_mask((row["height"], row["width"]), row["counts"].encode())
            np.testing.assert_array_equal(mask_HW, masks[[n]].decode()[0])
            assert row["area"] == mask_HW.sum() and len(row["bbox"]) == 4
            assert row["parent"] == (mine[masks.parent[n]]["mask_id"] if masks.parent[n] >= 0 else None)
            assert (row["score"], row["level"], row["source"]) == (masks.score[n], masks.level[n], masks.source[n])


def test_parquet_without_pyarrow_says_what_to_install(
    store: MaskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'divide-and-conquer\[parquet\]'"):
        export_store(store, "parquet", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


# ---------------------------------------------------------------- memory


def test_coco_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    import tracemalloc

    def peak(folder: Path, n_images: int) -> int:
        folder.mkdir()
        store = make_store(folder, {f"{i:04d}.jpg": blobs(i, 40) for i in range(n_images)}, shard_size=4)
        tracemalloc.start()
        export_store(store, "coco", folder / "out.json")
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(tmp_path / "warm", 2)
    small, large = peak(tmp_path / "small", 8), peak(tmp_path / "large", 80)
    assert (tmp_path / "large" / "out.json").stat().st_size > 9 * (tmp_path / "small" / "out.json").stat().st_size
    assert large < 1.5 * small

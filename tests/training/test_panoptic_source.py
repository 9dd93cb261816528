from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest

from dico.image import load_image
from tests.training.annotated import write_annotated
from tests.training.converters import write_png
from tests.training.panoptic import write_panoptic
from training.data import panoptic_source
from training.data.catalog import locate, open_source
from training.data.panoptic_source import PanopticSource, is_panoptic


def test_segments_are_masks_and_crowds_are_not(tmp_path):
    source = PanopticSource(write_panoptic(tmp_path))
    assert [record.key for record in source] == ["48", "49", "50"] and len(source) == 3
    for record in source:
        masks = record.read_masks()
        assert masks.size_hw == load_image(record.path).shape[:2]
        assert masks.area_px.tolist() == [17 * 16, 17 * 16] and masks.iou()[0, 1] == 0
    np.testing.assert_array_equal(source[0].read_masks().boxes_xyxy, [[2, 3, 18, 20], [20, 3, 36, 20]])


def test_the_catalogue_knows_it(tmp_path):
    path = write_panoptic(tmp_path)
    assert locate(str(path)).format == "panoptic" and len(open_source(str(path))) == 3
    assert locate(str(write_annotated(tmp_path / "coco"))).format == "coco"
    (tmp_path / "a.yaml").write_text(f"{{format: panoptic, annotations: {path}, images: {tmp_path / 'val2017'}}}")
    assert open_source(str(tmp_path / "a.yaml"))[0].path.is_file()


def test_where_the_images_are(tmp_path):
    path = write_panoptic(tmp_path, images="photos")
    assert not PanopticSource(path)[0].path.is_file()
    assert open_source(str(path), images=tmp_path / "photos")[0].path.is_file()
    assert PanopticSource(write_panoptic(tmp_path / "a", images="."))[0].path.is_file()


def test_the_kind_of_a_json_is_what_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(panoptic_source, "_CHUNK_BYTES", 7)
    path = tmp_path / "a.json"
    kinds = {'x"segments_info" "segmentation"': True, '"segmentation", "segments_info"': False, "{}": False}
    for text, expected in kinds.items():
        path.write_text(text)
        assert is_panoptic(path) is expected


def test_numbers_of_16_bits_and_grey_ones_are_refused_by_name(tmp_path):
    png = tmp_path / "annotations" / "panoptic_val2017" / "0_ids.png"
    source = PanopticSource(write_panoptic(tmp_path))
    with PIL.Image.open(png) as picture:
        colours_HW3 = np.array(picture)
        picture.convert("RGBA").save(png)
        assert source[2].read_masks().area_px.tolist() == [17 * 16, 17 * 16]
        picture.quantize(8).save(png)  # a palette has the same colours
    assert source[2].read_masks().area_px.tolist() == [17 * 16, 17 * 16]
    write_png(png, colours_HW3.astype(np.uint16) * 257)  # Pillow would open it as the colours that it was made of
    with pytest.raises(ValueError, match=r"0_ids\.png must have three channels of 8 bits.* 16 bits a channel\. Save"):
        source[2].read_masks()
    for numbers_HW in (colours_HW3[..., 0], colours_HW3[..., 0].astype(np.uint16)):
        write_png(png, numbers_HW)
        with pytest.raises(ValueError, match=r"0_ids\.png must have three channels of 8 bits.*; it is grey"):
            source[2].read_masks()
    png.unlink()
    with pytest.raises(ValueError, match=r"0_ids\.png, the segments of an image, is not there"):
        source[2].read_masks()


def test_the_digest_of_segments_is_that_of_their_names_and_sizes(tmp_path):
    source = PanopticSource(write_panoptic(tmp_path / "a"))
    digest = source.segments_digest()
    assert PanopticSource(write_panoptic(tmp_path / "b")).segments_digest() == digest  # wherever they are
    png = tmp_path / "a" / "annotations" / "panoptic_val2017" / "1_ids.png"
    whole = png.read_bytes()
    png.write_bytes(whole + b" ")
    longer = source.segments_digest()
    png.unlink()
    assert len({digest, longer, source.segments_digest()}) == 3
    png.write_bytes(whole)
    assert source.segments_digest() == digest


def test_damage(tmp_path):
    path = write_panoptic(tmp_path)
    content = json.loads(path.read_text())
    png = tmp_path / "annotations" / "panoptic_val2017" / "0_ids.png"
    source = PanopticSource(path)
    content["annotations"][0]["segments_info"].append({"id": 9})
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"0_ids\.png has no pixel of segment 9"):
        PanopticSource(path)[2].read_masks()
    png.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"0_ids\.png cannot be read \(.*; fetch it again"):
        source[2].read_masks()
    content["annotations"][1]["image_id"] = content["annotations"][0]["image_id"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have annotations, one for each image"):
        PanopticSource(path)
    content["annotations"][1]["image_id"] = 3
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"is not a panoptic annotation file, or is damaged \(KeyError\(3\)\)"):
        PanopticSource(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="is not a panoptic annotation file"):
        PanopticSource(path)

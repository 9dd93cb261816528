from __future__ import annotations

import os
import struct
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from dico.image import ImageError, crop, load_image, resize_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(path: Path, picture: PIL.Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def png_header_only(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes whose header promises width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


def test_rgb_is_returned_as_it_is(tmp_path, drawn_image):
    image = load_image(saved(tmp_path / "a.png", PIL.Image.fromarray(drawn_image)))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, drawn_image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "lzw.tif"])
def test_exif_orientation_is_applied(tmp_path, kind, orientation):
    # Corners red, green / blue, white, each 16x16, so that JPEG keeps them; stored so that upright is this again.
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24], upright[16:, 24:] = RED, GREEN, BLUE, WHITE
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"lzw.tif": {"compression": "tiff_lzw"}, "webp": {"lossless": True}, "jpg": {"quality": 95}}
    path = tmp_path / f"a.{kind}"
    PIL.Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options.get(kind, {}))
    image = load_image(path)
    assert image.shape == upright.shape
    for y, x in ((5, 5), (5, 40), (26, 5), (26, 40)):
        assert np.abs(image[y, x].astype(int) - upright[y, x]).max() < 12


def test_broken_exif_does_not_cost_the_image(tmp_path, drawn_image):
    path = saved(tmp_path / "a.png", PIL.Image.fromarray(drawn_image), exif=b"Exif\x00\x00no such header at all")
    np.testing.assert_array_equal(load_image(path), drawn_image)


def test_grey_and_one_bit(tmp_path):
    grey = np.array([[0, 255], [100, 7]], np.uint8)
    image = load_image(saved(tmp_path / "grey.png", PIL.Image.fromarray(grey)))
    np.testing.assert_array_equal(image, np.repeat(grey[:, :, None], 3, axis=2))
    one_bit = PIL.Image.fromarray(grey).convert("1", dither=PIL.Image.Dither.NONE)
    image = load_image(saved(tmp_path / "bit.png", one_bit))
    assert image[:, :, 0].tolist() == [[0, 255], [0, 0]]


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_is_scaled_by_its_range(tmp_path, kind):
    grey = np.array([[0, 257, 514], [32768, 65535 - 257, 65535]], np.uint16)
    path = tmp_path / f"a.{kind}"
    if kind == "pgm":
        path.write_bytes(b"P5 3 2 65535\n" + grey.astype(">u2").tobytes())
    else:
        PIL.Image.fromarray(grey).save(path)
    image = load_image(path)
    assert image[:, :, 1].tolist() == [[0, 1, 2], [128, 254, 255]]
    assert (image == image[:, :, :1]).all()


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path):
    image = load_image(saved(tmp_path / "a.png", PIL.Image.fromarray(np.full((2, 2), 300, np.uint16))))
    assert image.max() == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[-100.0, 0.0, 100.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 0.0, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[5.0, 5.0, 5.0]], np.float32), [0, 0, 0]),
        (np.array([[-70000, 0, 70000]], np.int32), [0, 128, 255]),
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),
    ],
)
def test_integers_and_floats_without_a_range(tmp_path, values, expected):
    image = load_image(saved(tmp_path / "a.tif", PIL.Image.fromarray(values)))
    assert image[0, :, 0].tolist() == expected


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    image = load_image(saved(tmp_path / "rgba.png", PIL.Image.fromarray(rgba)))
    assert image[0].tolist() == [[255, 0, 0], [255, 255, 255], [204, 204, 204]]
    grey_alpha = np.array([[[10, 255], [10, 0]]], np.uint8)
    image = load_image(saved(tmp_path / "la.png", PIL.Image.fromarray(grey_alpha, mode="LA")))
    assert image[0, :, 0].tolist() == [10, 255]


@pytest.mark.parametrize(("kind", "transparency"), [("png", 1), ("png", bytes([255, 0, 255])), ("gif", 1)])
def test_palette_with_alpha(tmp_path, kind, transparency):
    palette = PIL.Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    palette.putpalette([*RED, *GREEN, *BLUE])
    image = load_image(saved(tmp_path / f"a.{kind}", palette, transparency=transparency))
    assert image[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_colour_key_of_an_rgb_png(tmp_path):
    picture = PIL.Image.fromarray(np.array([[RED, GREEN]], np.uint8))
    image = load_image(saved(tmp_path / "a.png", picture, transparency=GREEN))
    assert image[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_cmyk_and_ycbcr(tmp_path):
    cmyk = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for kind in ("jpg", "tif"):
        image = load_image(saved(tmp_path / f"a.{kind}", cmyk))
        assert image.shape == (16, 16, 3)
        assert np.abs(image[8, 8].astype(int) - RED).max() < 12


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [PIL.Image.new("RGB", (6, 4), colour) for colour in (RED, GREEN, BLUE)]
    for kind in ("gif", "webp", "png", "tif"):
        options = {"lossless": True} if kind == "webp" else {}
        path = saved(tmp_path / f"a.{kind}", frames[0], save_all=True, append_images=frames[1:], **options)
        image = load_image(path)
        assert image.shape == (4, 6, 3)
        assert (image == RED).all(), kind


def test_content_decides_not_the_name(tmp_path, drawn_image):
    path = saved(tmp_path / "a.png", PIL.Image.fromarray(drawn_image)).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(load_image(path), drawn_image)


def test_one_pixel_and_very_wide(tmp_path):
    assert load_image(saved(tmp_path / "one.png", PIL.Image.new("RGB", (1, 1), RED))).tolist() == [[[255, 0, 0]]]
    assert load_image(saved(tmp_path / "wide.png", PIL.Image.new("RGB", (30_000, 2)))).shape == (2, 30_000, 3)


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "webp", "gif", "tif", "jp2"])
def test_a_file_cut_short_is_an_error(tmp_path, drawn_image, kind):
    path = saved(tmp_path / f"cut.{kind}", PIL.Image.fromarray(np.tile(drawn_image, (4, 4, 1))))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"cut\.{kind} is damaged, cut short"):
        load_image(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; fetch it again"),
        (b"hello, this is text\n", "is not an image that is read .*; put one of these in its place"),
        (b"\xff\xd8\xff", "not an image that is read"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1", "HEIC .* convert it to JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that is read"),
    ],
)
def test_what_is_no_image_is_named_with_a_remedy(tmp_path, content, message):
    path = tmp_path / "holiday ü.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"holiday ü.jpg .*{message}|holiday ü.jpg {message}"):
        load_image(path)


def test_what_cannot_be_opened_or_read(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "circle.jpg").symlink_to(tmp_path / "circle.jpg")
    (tmp_path / "disk.jpg").symlink_to("/proc/self/mem")  # a regular file whose reading is an input/output error
    for name, message in {
        "missing.jpg": "does not exist",
        "folder.jpg": "is a folder",
        "pipe.jpg": "not a regular file",
        "circle.jpg": "cannot be read",
        "disk.jpg": r"cannot be read \(Input/output error\)",
    }.items():
        with pytest.raises(ImageError, match=f"{name} {message}|{name} is {message}"):
            load_image(tmp_path / name)


def test_an_unreadable_file():
    # Root reads every file, so that a test run by root becomes somebody else for a moment.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = saved(Path(folder) / "secret.png", PIL.Image.new("RGB", (2, 2)))
        Path(folder).chmod(0o755)
        path.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(ImageError, match=r"secret\.png cannot be read \(Permission denied\); check its perm"):
                load_image(path)
        finally:
            os.seteuid(user)


def test_a_bomb_is_refused_by_its_header_and_nothing_warns(tmp_path):
    limit_of_pillow = PIL.Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bomb = png_header_only(tmp_path / "bomb.png", 60_000, 60_000)
        with pytest.raises(ImageError, match=r"60000x60000 pixels, more than 200000000; .* image\.max_pixels"):
            load_image(bomb)
        large = saved(tmp_path / "large.png", PIL.Image.new("1", (10_000, 9_500)))
        assert large.stat().st_size < 100_000
        with pytest.raises(ImageError, match="more than 94999999"):
            load_image(large, max_pixels=94_999_999)
        small = saved(tmp_path / "small.png", PIL.Image.new("L", (3, 3)))
        assert load_image(small, max_pixels=9).shape == (3, 3, 3)
    assert limit_of_pillow == PIL.Image.MAX_IMAGE_PIXELS


def test_ours_is_the_only_limit(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", PIL.Image.new("L", (30, 30)))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(path).shape == (30, 30, 3)


def test_random_damage_is_an_image_or_an_image_error(tmp_path, drawn_image):
    rng = np.random.default_rng(0)
    good = saved(tmp_path / "good.tif", PIL.Image.fromarray(drawn_image)).read_bytes()
    good_png = saved(tmp_path / "good.png", PIL.Image.fromarray(drawn_image)).read_bytes()
    errors = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for trial in range(120):
            content = bytearray(good_png if trial % 2 else good)
            for at in rng.integers(0, len(content), 6):
                content[at] = rng.integers(256)
            for at in rng.integers(0, 120, 2):
                content[at] = rng.integers(256)
            path = tmp_path / "damaged"
            path.write_bytes(content)
            try:
                assert load_image(path, max_pixels=10_000).shape[2] == 3
            except ImageError:
                errors += 1
    assert errors > 20


def test_resize(drawn_image):
    assert resize_image(drawn_image, (10, 20)).shape == (10, 20, 3)
    assert resize_image(drawn_image[:1, :1], (3, 2)).tolist() == [[drawn_image[0, 0].tolist()] * 2] * 3
    assert resize_image(drawn_image, drawn_image.shape[:2]) is drawn_image
    with pytest.raises(ValueError, match=r"size_hw must be two positive integers, got \(0, 4\)"):
        resize_image(drawn_image, (0, 4))


def test_crop_is_half_open(drawn_image):
    np.testing.assert_array_equal(crop(drawn_image, (2, 3, 5, 9)), drawn_image[3:9, 2:5])
    np.testing.assert_array_equal(crop(drawn_image, (0, 0, 64, 48)), drawn_image)
    for box_xyxy in ((0, 0, 65, 48), (3, 3, 3, 5), (-1, 0, 4, 4)):
        with pytest.raises(ValueError, match="box_xyxy must lie within the 64x48 image"):
            crop(drawn_image, box_xyxy)

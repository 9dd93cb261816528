"""Every oddity that real folders hold, through the command line: handled or recorded, none of them the end."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import draw
from test_run import shard_bytes

from dico.cli import main
from dico.store import MaskStore


def png_that_promises(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


@pytest.fixture
def zoo(tmp_path: Path) -> tuple[Path, dict[str, tuple[int, int]], dict[str, str]]:
    """A folder, the (H, W) of each image that can be labelled, and for each other a word of the reason."""
    folder = tmp_path / "the zoo ü"
    (folder / "sub folder").mkdir(parents=True)
    picture = PIL.Image.fromarray(draw(0, (32, 48)))

    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "good.jpg")
    picture.save(folder / "rotated.jpg", exif=exif)
    picture.save(folder / "UPPER.JPG")
    picture.save(folder / "sub folder" / "Zürich, 東京 😀.png")
    picture.convert("L").save(folder / "grey.jpg")
    picture.convert("1").save(folder / "one bit.png")
    picture.convert("LA").save(folder / "grey with alpha.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("P").save(folder / "palette.png", transparency=bytes(range(256)))
    picture.convert("P").save(folder / "palette.gif", transparency=0)
    PIL.Image.fromarray(draw(0, (32, 48))[:, :, 0].astype(np.uint16) * 257).save(folder / "16 bit.png")
    PIL.Image.fromarray(draw(0, (32, 48))[:, :, 0].astype(np.uint16) * 257).save(folder / "16 bit.tif")
    picture.putalpha(PIL.Image.fromarray(draw(1, (32, 48))[:, :, 0]))
    picture.save(folder / "alpha.webp", lossless=True)
    frames = [PIL.Image.fromarray(draw(i, (32, 48))) for i in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    PIL.Image.new("RGB", (1, 1), (9, 8, 7)).save(folder / "one pixel.png")
    PIL.Image.new("RGB", (48, 32), (9, 8, 7)).save(folder / "one colour.png")
    PIL.Image.fromarray(draw(2, (4, 30_000))).save(folder / "wide.png")
    (folder / "album.jpg").mkdir()
    frames[0].save(folder / "album.jpg" / "inside.png")
    labelled = {path.relative_to(folder).as_posix(): (32, 48) for path in folder.rglob("*") if path.is_file()}
    labelled |= {"rotated.jpg": (48, 32), "one pixel.png": (1, 1), "wide.png": (4, 30_000)}

    whole = (folder / "good.jpg").read_bytes()
    (folder / "cut short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero bytes.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("dear diary")
    (folder / "bomb.png").write_bytes(png_that_promises(60_000, 60_000))
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (folder / "disk error.jpg").symlink_to("/proc/self/mem")
    os.mkfifo(folder / "pipe.jpg")
    failing = {
        "cut short.jpg": "cut short",
        "zero bytes.jpg": "is empty",
        "text.jpg": "is not an image",
        "bomb.png": "more than 200000000; shrink it, or raise image.max_pixels",
        "gone.jpg": "does not exist",
        "circle.jpg": "cannot be read",
        "disk error.jpg": "cannot be read",
        "pipe.jpg": "not a regular file",
    }
    if os.geteuid() != 0:  # root reads everything
        (folder / "secret.jpg").write_bytes(whole)
        (folder / "secret.jpg").chmod(0)
        failing["secret.jpg"] = "Permission denied"
    (folder / "notes.txt").write_text("not listed")
    (folder / ".hidden.jpg").write_bytes(b"")
    return folder, labelled, failing


@pytest.mark.parametrize("executor", ["inline", "pool", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_folder_of_oddities(tmp_path, zoo, capfd, executor):
    if executor == "ray":
        pytest.importorskip("ray")
    folder, labelled, failing = zoo
    with warnings.catch_warnings():
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        assert main(["label", str(folder), str(tmp_path / "out"), "--executor", executor]) == 1
    captured = capfd.readouterr()
    told = f"{len(failing)} images failed ({len(failing)} decode in this run); the list, with the reasons, is"
    assert f"{told} {tmp_path / 'out' / 'failures.jsonl'}" in captured.err
    assert "Traceback" not in captured.err and "Warning" not in captured.err and captured.out == ""
    if executor != "inline":
        assert main(["label", str(folder), str(tmp_path / "inline"), "--executor", "inline"]) == 1
        assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "inline")

    store = MaskStore.open(tmp_path / "out")
    rows = {row.path: row for row in store}
    assert rows.keys() == labelled.keys() | failing.keys()
    assert {path: row.masks.size_hw for path, row in rows.items() if row.masks is not None} == labelled
    assert {path for path, row in rows.items() if row.kind == "decode"} == failing.keys()
    stories = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert {story["path"] for story in stories} == failing.keys()
    for story in stories:
        assert failing[story["path"]] in story["error"] and Path(story["path"]).name in story["error"]
    assert store.verify().problems == ()
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert main(["info", str(tmp_path / "out")]) == 0
    assert main(["view", str(tmp_path / "out"), "--output", str(tmp_path / "g.html")]) == 0
    assert main(["export", str(tmp_path / "out"), "--format", "coco", "--output", str(tmp_path / "a.json")]) == 0


def test_a_folder_given_in_a_list(tmp_path, capsys):
    (tmp_path / "album.jpg").mkdir()
    (tmp_path / "list.txt").write_text("album.jpg\n")
    assert main(["label", str(tmp_path / "list.txt"), str(tmp_path / "out")]) == 1
    assert MaskStore.open(tmp_path / "out").failures()[0].error.endswith("is a folder; give the path of an image file")


def test_a_name_that_is_not_utf8(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    PIL.Image.fromarray(draw(0, (24, 32))).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(folder / name)
    for _ in range(2):
        assert main(["label", str(folder), str(tmp_path / "out")]) == 0
    (row,) = MaskStore.open(tmp_path / "out")
    assert MaskStore.open(tmp_path / "out").image_path(row) == folder / name


def test_the_limit_of_pixels_is_a_setting(tmp_path, image_folder):
    assert main(["label", str(image_folder(2)), str(tmp_path / "out"), "image.max_pixels=700"]) == 1
    (failure,) = MaskStore.open(tmp_path / "out").failures()
    assert "has 32x24 pixels, more than 700" in failure.error


def test_a_killed_command_goes_on_to_the_same_bytes(tmp_path, image_folder):
    folder = image_folder(8)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(["label", str(folder), str(whole), "--shard-size", "4"]) == 0
    command = [sys.executable, "-m", "dico", "label", str(folder), str(out), "--shard-size", "4"]
    process = subprocess.Popen(command)
    journal = out / "shards" / "000000.journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert MaskStore.open(out).status().pending > 0
    assert subprocess.run(command, check=False).returncode == 0
    assert shard_bytes(out) == shard_bytes(whole)

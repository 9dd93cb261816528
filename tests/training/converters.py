"""Converters of data sets as the tests call them: ``datasets`` is a folder, not a package that could be imported."""

from __future__ import annotations

import importlib.util
import json
import struct
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
from pycocotools import mask as coco_rle

from tests.conftest import draw
from training.data.catalog import DatasetDescription, describe

DATASETS = Path(__file__).parents[2] / "datasets"


def converter(name: str) -> ModuleType:
    """The script of a name such as ``prepare_lvis``."""
    spec = importlib.util.spec_from_file_location(name, DATASETS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(name: str, *, images: int, script: str) -> DatasetDescription:
    """The project's description of a data set: it expects so many images, and names the script that prepares it."""
    description = describe(name)
    assert description is not None and description.expected_images == images
    assert f"datasets/{script}.py" in description.prepare
    return description


def write_image(path: Path, size_hw: tuple[int, int], seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(draw(seed, size_hw)).save(path)


def write_png(path: Path, pixels: np.ndarray, *, in_a_byte: int = 1) -> None:
    """A PNG byte by byte, of 8 or 16 bits by the type of the pixels, (H, W) or (H, W, 3), as not all by Pillow.

    Of bytes that hold several numbers each, a PNG of fewer bits and more columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape[0], pixels.shape[1] * in_a_byte
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
    bits, kind = 8 * pixels.dtype.itemsize // in_a_byte, 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))


def rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """A polygon as COCO writes it."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def runs(mask_HW: np.ndarray) -> dict[str, Any]:
    """Run lengths that are not compressed, down the columns, of nothing first, as COCO writes crowds."""
    flat = mask_HW.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    return {"size": list(mask_HW.shape), "counts": counts}


def code(mask_HW: np.ndarray) -> dict[str, Any]:
    """A compressed code, its counts text, as json files have it."""
    rle = coco_rle.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    return {"size": list(mask_HW.shape), "counts": rle["counts"].decode()}


def box_mask(size_hw: tuple[int, int], x: int, y: int, width: int, height: int) -> np.ndarray:
    mask_HW = np.zeros(size_hw, dtype=np.uint8)
    mask_HW[y : y + height, x : x + width] = 1
    return mask_HW


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def mask_of(annotation: dict[str, Any]) -> np.ndarray:
    return np.asarray(coco_rle.decode(annotation["segmentation"]))

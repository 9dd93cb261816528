"""Drawn images with panoptic annotations, as COCO distributes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image

from tests.conftest import draw

SEGMENTS = {7: "left", 300: "right", 70_000: "crowd"}
"""Numbers that need one, two and three bytes of a colour."""


def write_panoptic(folder: Path, count: int = 3, *, images: str = "val2017") -> Path:
    """Writes drawn images and a json with a PNG each: a left and a right segment, and a crowd at the foot."""
    for name in (images, "annotations", "annotations/panoptic_val2017"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    content: dict[str, list[object]] = {"images": [], "annotations": [], "categories": []}
    for index in range(count):
        size_hw = (30 + index, 40)
        image_id = 50 - index
        PIL.Image.fromarray(draw(index, size_hw)).save(folder / images / f"{index}.png")
        ids_HW = np.zeros(size_hw, dtype=np.int64)
        ids_HW[3:20, 2:18], ids_HW[3:20, 20:36], ids_HW[25:] = SEGMENTS
        colours_HW3 = np.stack([ids_HW >> shift & 255 for shift in (0, 8, 16)], axis=2).astype(np.uint8)
        PIL.Image.fromarray(colours_HW3).save(folder / "annotations" / "panoptic_val2017" / f"{index}_ids.png")
        segments = [{"id": number, "iscrowd": int(what == "crowd")} for number, what in SEGMENTS.items()]
        content["images"].append({"id": image_id, "file_name": f"{index}.png", "height": size_hw[0], "width": 40})
        content["annotations"].append(
            {"image_id": image_id, "file_name": f"{index}_ids.png", "segments_info": segments}
        )
    path = folder / "annotations" / "panoptic_val2017.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path

"""SA-1B: a folder with one json an image, as the Segment Anything data set has them.

An annotation holds ``id``, ``segmentation``, ``area``, ``bbox`` and ``predicted_iou``. SA-1B's ``predicted_iou`` is a
model's estimate of its own mask's IoU; here it is our score, that ranks masks and estimates nothing. Its
``stability_score``, ``crop_box`` and ``point_coords`` say how a mask was prompted for; ours were not, so they are
absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dico.atomic import atomic_folder
from dico.export.base import LabelledImage, label_names
from dico.store import Manifest

FIELDS = ("id", "segmentation", "area", "bbox")


def write_sa1b(images: Iterable[LabelledImage], manifest: Manifest, output: Path) -> tuple[str, ...]:
    """Writes a json for each image, in the folders that the images are in."""
    names = label_names([entry.path for entry in manifest.entries])
    with atomic_folder(output) as folder:
        for image in images:
            file = folder / f"{names[image.path]}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(_content(image)), encoding="utf-8")
    return (
        "predicted_iou holds our score, which ranks masks but is no estimate of an IoU; stability_score, crop_box and "
        "point_coords are left out, as nothing was prompted.",
    )


def _content(image: LabelledImage) -> dict[str, Any]:
    height, width = image.masks.size_hw
    annotations = image.masks.to_coco(image_id=image.image_id, first_id=image.first_mask_id)
    return {
        "image": {"image_id": image.image_id, "width": width, "height": height, "file_name": image.path},
        "annotations": [{**{k: one[k] for k in FIELDS}, "predicted_iou": one["score"]} for one in annotations],
    }

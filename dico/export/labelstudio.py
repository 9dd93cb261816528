"""Label Studio: one json of tasks with pre-annotations, to import into a project.

Masks are brush regions, exact with holes and pieces; polygons would lose both. A region's ``parentID`` is its parent,
and its note holds level, theta and source. The images are served by Label Studio's local storage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dico.atomic import atomic_file
from dico.export.base import LabelledImage
from dico.export.brush import encode_brush
from dico.store import Manifest

LABELLING_CONFIGURATION = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="label" toName="image"><Label value="object"/></BrushLabels></View>'
)
"""What the project needs; regions name its tags."""


def write_labelstudio(images: Iterable[LabelledImage], manifest: Manifest, output: Path) -> tuple[str, ...]:
    """Writes one task an image."""
    with atomic_file(output) as temporary, open(temporary, "w", encoding="utf-8") as stream:
        stream.write("[")
        comma = "\n"
        for image in images:
            prediction = {"model_version": f"dico {manifest.config_hash}", "result": _regions(image)}
            url = f"/data/local-files/?d={quote(image.path)}"
            stream.write(comma + json.dumps({"data": {"image": url}, "predictions": [prediction]}))
            comma = ",\n"
        stream.write("\n]\n")
    return (
        "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={manifest.root}, or replace the image addresses.",
        f"the project's labelling configuration must be {LABELLING_CONFIGURATION}",
    )


def _regions(image: LabelledImage) -> list[dict[str, Any]]:
    height, width = image.masks.size_hw
    regions = []
    for one, mask_HW in zip(image.masks.to_coco(first_id=image.first_mask_id), image.masks.iter_decoded(), strict=True):
        region: dict[str, Any] = {
            "id": f"mask{one['id']}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask_HW), "brushlabels": ["object"]},
            "score": one["score"],
            "meta": {"text": [f"level {one['level']}, theta {one['theta']}, {one['source']}"]},
        }
        if one["parent"]:
            region["parentID"] = f"mask{one['parent']}"
        regions.append(region)
    return regions

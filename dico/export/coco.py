"""COCO: one json, as pycocotools, detectron2 and most tools read it.

Each annotation also has ``score``, ``level``, ``theta``, ``parent`` (the id of the parent's annotation, 0 for a root)
and ``source``, which readers of COCO pass over. Images that failed are left out; an image without masks is listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from dico.atomic import atomic_file
from dico.export.base import LabelledImage
from dico.store import Manifest


def write_coco(images: Iterable[LabelledImage], manifest: Manifest, output: Path) -> tuple[str, ...]:
    """Writes a COCO json of the images; in memory there is one image at a time."""
    info = {"description": "masks by dico", "config": manifest.config, "config_hash": manifest.config_hash}
    head = {"info": info, "licenses": [], "categories": [{"id": 1, "name": "object", "supercategory": ""}]}
    # Sizes are known only when the masks are read, and those are read once: the list of images waits in a file.
    with (
        atomic_file(output) as temporary,
        open(temporary, "w", encoding="utf-8") as stream,
        TemporaryFile("w+", encoding="utf-8") as waiting,
    ):
        stream.write(json.dumps(head)[:-1] + ', "annotations": [')
        comma = image_comma = "\n"
        for image in images:
            height, width = image.masks.size_hw
            entry = {"id": image.image_id, "file_name": image.path, "height": height, "width": width}
            waiting.write(image_comma + json.dumps(entry))
            image_comma = ",\n"
            for annotation in image.masks.to_coco(image_id=image.image_id, first_id=image.first_mask_id):
                stream.write(comma + json.dumps(annotation))
                comma = ",\n"
        stream.write('\n], "images": [')
        waiting.seek(0)
        stream.writelines(waiting)
        stream.write("\n]}\n")
    return ()

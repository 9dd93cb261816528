"""YOLO segmentation: a folder with a text file of polygons an image, and ``data.yaml``, as Ultralytics reads it.

Each line is one mask: class 0, then x and y of each corner as shares of the image's width and height. A line is one
polygon, so holes are filled (the report counts the masks that had any) and the pieces of a mask are connected by
bridges without width, as the format's own converter from COCO does. ``images/`` holds links to the photographs, because
labels are found by replacing ``images`` by ``labels`` in their paths. Scores and hierarchy have no place in the format.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dico.atomic import atomic_folder
from dico.export.base import LabelledImage, label_names
from dico.export.polygons import joined, outlines
from dico.store import Manifest

DATA_YAML = """\
# No images are held out: val is train again, so validation figures say nothing.
train: images
val: images
names:
  0: object
"""


def write_yolo(images: Iterable[LabelledImage], manifest: Manifest, output: Path) -> tuple[str, ...]:
    """Writes ``data.yaml``, ``labels/*.txt`` and links in ``images/``."""
    names = label_names([entry.path for entry in manifest.entries])
    n_with_holes = n_in_pieces = n_empty = 0
    link_error: OSError | None = None
    with atomic_folder(output) as folder:
        (folder / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
        for image in images:
            lines = []
            for mask_HW in image.masks.iter_decoded():
                polygons, n_holes = outlines(mask_HW)
                n_with_holes += n_holes > 0
                n_in_pieces += len(polygons) > 1
                n_empty += not polygons
                if polygons:
                    lines.append(_line(joined(polygons), image.masks.size_hw))
            label = folder / "labels" / f"{names[image.path]}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(lines), encoding="utf-8")
            link = folder / "images" / f"{names[image.path]}{image.file.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            try:
                link.symlink_to(image.file)
            except OSError as error:
                link_error = error
    notes = [f"holes are lost: {n_with_holes:,} masks had any; {n_in_pieces:,} masks in several pieces were bridged."]
    if n_empty:
        notes.append(f"{n_empty:,} masks without a pixel were left out.")
    if link_error is not None:
        notes.append(f"images could not be linked ({link_error.strerror}): copy them into {output / 'images'}.")
    return tuple(notes)


def _line(polygon_P2: NDArray[np.float64], size_hw: tuple[int, int]) -> str:
    shares_P2 = np.clip(polygon_P2 / size_hw[::-1], 0, 1)
    return "0 " + " ".join(f"{share:.6g}" for share in shares_P2.ravel()) + "\n"

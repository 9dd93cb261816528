"""Annotations and predictions with every oddity of COCO's rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle

from dico.masks import MaskSet

SIZE_HW = (150, 180)


def ellipse(centre_yx: Any, radii_yx: Any, size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.bool_]:
    y_HW, x_HW = np.mgrid[: size_hw[0], : size_hw[1]]
    (cy, cx), (ry, rx) = centre_yx, radii_yx
    return np.asarray(((y_HW - cy) / ry) ** 2 + ((x_HW - cx) / rx) ** 2 <= 1)


def random_case(
    rng: np.random.Generator, *, n_images: int = 6, crowds: bool = False, ties: bool = False, max_masks: int = 60
) -> tuple[dict[str, Any], dict[int, MaskSet]]:
    """Annotations and predictions with masks of every size, some right, some near, some wrong."""
    images, annotations, predictions = [], [], {}
    for image_id in (rng.permutation(50)[:n_images] + 1).tolist():
        images.append({"id": image_id, "file_name": f"{image_id}.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]})
        masks = []
        for _ in range(rng.integers(0, 9)):
            centre_yx, radii_yx = rng.uniform(0, SIZE_HW), rng.choice([8, 25, 60]) * rng.uniform(0.5, 1.5, 2)
            truth_HW = ellipse(centre_yx, radii_yx)
            masks += [
                ellipse(centre_yx + rng.normal(0, 0.2, 2) * radii_yx, radii_yx * rng.uniform(0.7, 1.3, 2))
                for _ in range(rng.integers(0, 4))
            ]
            if not truth_HW.any():
                continue
            if rng.random() < 0.3:
                masks.append(truth_HW)
            rle = coco_rle.encode(np.asfortranarray(truth_HW.astype(np.uint8)))
            # Annotated areas need not be those of the masks: COCO's are of the polygons.
            area = float(truth_HW.sum() * rng.choice([1.0, 0.9, 1.2]))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.integers(1, 4)),
                    "iscrowd": int(crowds and rng.random() < 0.3),
                    "area": area,
                    "bbox": coco_rle.toBbox(rle).tolist(),
                    "segmentation": {"size": list(SIZE_HW), "counts": rle["counts"].decode()},
                }
            )
        masks += [ellipse(rng.uniform(0, SIZE_HW), rng.uniform(3, 50, 2)) for _ in range(rng.integers(0, 20))]
        masks = masks[:max_masks]
        if not masks:
            continue
        score = rng.integers(0, 4, len(masks)) / 4 if ties else rng.random(len(masks))
        predictions[image_id] = MaskSet.from_arrays(np.stack(masks), score=score)
    categories = [{"id": i, "name": str(i)} for i in (3, 1, 2)]
    return {"images": images, "annotations": annotations, "categories": categories}, predictions


def write(tmp_path: Path, annotations: dict[str, Any]) -> Path:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(annotations))
    return path


def with_polygons(annotations: dict[str, Any]) -> dict[str, Any]:
    """Some masks as polygons, some as run lengths that are not compressed. Changes what it is given."""
    for one in annotations["annotations"][::2]:
        x, y, w, h = one["bbox"]
        one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h], [1, 1, 6, 1, 6, 7]]
    for one in annotations["annotations"][1::4]:
        pixels_HW = coco_rle.decode(one["segmentation"]).ravel(order="F")
        edges = np.flatnonzero(np.diff(pixels_HW)) + 1
        counts = np.diff([0, *edges, pixels_HW.size]).tolist()
        one["segmentation"] = {"size": list(SIZE_HW), "counts": counts if not pixels_HW[0] else [0, *counts]}
    return annotations

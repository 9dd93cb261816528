"""Our evaluation beside stock pycocotools on the same annotations and masks; the figures must be equal.

python benchmarks/evaluation_speed.py [--images 40] [--masks 1000]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dico.evaluate import MAX_DETS, evaluate_masks
from dico.masks import MaskSet

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.measure import figure, print_figures, timed
from tests.reference.coco_eval import coco_figures

SIZE_HW = (321, 481)
TRUTHS_PER_IMAGE = 100


def random_rectangles(rng: np.random.Generator, count: int) -> MaskSet:
    """Rectangles of many sizes: quick to make, and they overlap as nested masks do."""
    masks_NHW = np.zeros((count, *SIZE_HW), dtype=bool)
    for mask_HW in masks_NHW:
        height, width = (np.array(SIZE_HW) * 2 ** rng.uniform(-5, -0.5, 2)).astype(int) + 1
        y, x = rng.integers(0, SIZE_HW[0] - height), rng.integers(0, SIZE_HW[1] - width)
        mask_HW[y : y + height, x : x + width] = True
    return MaskSet.from_arrays(masks_NHW, score=rng.random(count))


def make_input(n_images: int, n_masks: int) -> tuple[dict[str, Any], dict[int, MaskSet]]:
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    images, predictions = [], {}
    for image_id in range(1, n_images + 1):
        images.append({"id": image_id, "file_name": f"{image_id}.png", "height": SIZE_HW[0], "width": SIZE_HW[1]})
        truths = random_rectangles(rng, TRUTHS_PER_IMAGE)
        annotations += truths.to_coco(image_id=image_id, first_id=len(annotations) + 1)
        predictions[image_id] = random_rectangles(rng, n_masks)
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}, predictions


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--masks", type=int, default=1000)
    arguments = parser.parse_args(argv)
    annotations, predictions = make_input(arguments.images, arguments.masks)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "annotations.json"
        path.write_text(json.dumps(annotations))
        evaluate_masks(list(predictions.items())[:1], path)  # compiles
        report, ours_s = timed(lambda: evaluate_masks(predictions.items(), path, resamples=0))
        _, with_intervals_s = timed(lambda: evaluate_masks(predictions.items(), path))
    figures, theirs_s = timed(lambda: coco_figures(annotations, predictions, MAX_DETS))
    for budget in report.budgets:
        for name, value in figures[budget.max_masks].items():
            np.testing.assert_allclose(getattr(budget, name), value, atol=1e-9, err_msg=f"{name}@{budget.max_masks}")
    print(report.table())
    print(f"\n{arguments.images} images x {arguments.masks} masks x {TRUTHS_PER_IMAGE} ground truths; equal to 1e-9")
    print(f"ours {ours_s:.2f} s ({with_intervals_s:.2f} s with 1,000 resamples), pycocotools {theirs_s:.2f} s")
    print_figures([figure("evaluation", ours_s, theirs_s, "s")])
    return 0


if __name__ == "__main__":
    sys.exit(main())

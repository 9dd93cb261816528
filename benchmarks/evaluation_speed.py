"""Our evaluation beside stock COCO tools, which read results from json: time, memory, and figures that must be equal.

All sides begin with the same store of masks and the same annotation file, in a process of their own on one core. The
stock side writes the store as a results file, loads that as its users do, evaluates and accumulates.

Example:
    python -m benchmarks.evaluation_speed
    python -m benchmarks.evaluation_speed --images 40 --masks-as rectangles
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measure import figure, one_core, print_figures, timed, with_peak
from benchmarks.region_masks import RegionTree
from dico.evaluate import evaluate_store
from dico.masks import MaskSet
from dico.stock_coco import Engine, faster_engine, pycocotools_engine
from dico.store import ImageEntry, Manifest, MaskStore

REPOSITORY = Path(__file__).resolve().parent.parent
SIZE_HW = (321, 481)
TRUTHS_PER_IMAGE = 100
MAX_DETS = (10, 100, 1000)
PICTURES = 20
"""Different pictures; more images are copies of them with other scores."""
BORDERS = 4
"""How many times the borders of the regions of a picture are drawn for its masks, which makes near copies."""


def random_rectangles(rng: np.random.Generator, count: int) -> MaskSet:
    """Rectangles of many sizes: short codes, and they overlap as nested masks do."""
    masks_NHW = np.zeros((count, *SIZE_HW), dtype=bool)
    for mask_HW in masks_NHW:
        height, width = (np.array(SIZE_HW) * 2 ** rng.uniform(-5, -0.5, 2)).astype(int) + 1
        y, x = rng.integers(0, SIZE_HW[0] - height), rng.integers(0, SIZE_HW[1] - width)
        mask_HW[y : y + height, x : x + width] = True
    return MaskSet.from_arrays(masks_NHW)


def rectangles(rng: np.random.Generator, n_masks: int) -> tuple[MaskSet, MaskSet]:
    return random_rectangles(rng, TRUTHS_PER_IMAGE), random_rectangles(rng, n_masks)


def regions(rng: np.random.Generator, n_masks: int) -> tuple[MaskSet, MaskSet]:
    """Ground truth and masks that are regions of one hierarchy, with borders of their own."""
    tree = RegionTree(rng, SIZE_HW, max(TRUTHS_PER_IMAGE, 150 * n_masks // 1000))
    masks = [tree.draw(rng, len(part)) for part in np.array_split(np.arange(n_masks), BORDERS)]
    return tree.draw(rng, TRUTHS_PER_IMAGE), MaskSet.concat(masks)


MASKS_AS = {"regions": regions, "rectangles": rectangles}


def make_input(folder: Path, n_images: int, n_masks: int, kind: str) -> None:
    """Writes ``annotations.json`` and the store ``masks``."""
    rng = np.random.default_rng(0)
    pictures = [MASKS_AS[kind](rng, n_masks) for _ in range(min(PICTURES, n_images))]
    images, annotations = [], []
    entries = tuple(ImageEntry(i, f"{i:05d}.png", 1) for i in range(n_images))
    with MaskStore.create(folder / "masks", Manifest(str(folder), entries, {}, "0" * 12, 64)).writer() as writer:
        for entry in entries:
            truths, masks = pictures[entry.index % len(pictures)]
            image_id = entry.index + 1
            images.append({"id": image_id, "file_name": entry.path, "height": SIZE_HW[0], "width": SIZE_HW[1]})
            annotations += truths.to_coco(image_id=image_id, first_id=len(annotations) + 1)
            writer.write(entry.index, masks.with_fields(score=rng.random(n_masks)))
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (folder / "annotations.json").write_text(json.dumps(content), encoding="utf-8")


def ours(folder: Path, resamples: int = 0) -> dict[str, Any]:
    """Our figures by budget."""
    report = evaluate_store(
        MaskStore.open(folder / "masks"), folder / "annotations.json", max_dets=MAX_DETS, resamples=resamples
    )
    return {str(budget.max_masks): asdict(budget) for budget in report.budgets}


def ours_with_intervals(folder: Path) -> dict[str, Any]:
    """Likewise, with the intervals of 1,000 resamples."""
    return ours(folder, resamples=1000)


def stock(folder: Path, engine: Engine) -> dict[str, Any]:
    """The figures of a stock tool by budget, through a results file."""
    results = [
        {
            "image_id": row.index + 1,
            "category_id": 1,
            "segmentation": {"size": list(SIZE_HW), "counts": rle.decode("ascii")},
            "score": score,
        }
        for row in MaskStore.open(folder / "masks")
        if row.masks is not None
        for rle, score in zip(row.masks.rles, row.masks.score.tolist(), strict=True)
    ]
    path = folder / "results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    del results
    truth = engine.coco(str(folder / "annotations.json"))
    return {str(m): named for m, named in engine.figures(truth, truth.loadRes(str(path)), MAX_DETS).items()}


def pycocotools(folder: Path) -> dict[str, Any]:
    return stock(folder, pycocotools_engine())


def faster_coco_eval(folder: Path) -> dict[str, Any]:
    engine = faster_engine()
    if engine is None:
        raise ImportError("faster-coco-eval is not installed")
    return stock(folder, engine)


SIDES: dict[str, Callable[[Path], dict[str, Any]]] = {
    side.__name__: side for side in (ours, ours_with_intervals, pycocotools, faster_coco_eval)
}

# The first evaluation pays for compiled code and libraries, which any process has.
MEASURE = """
import json, sys
from contextlib import redirect_stdout
from pathlib import Path
from benchmarks.evaluation_speed import SIDES, measure
with redirect_stdout(sys.stderr):
    found = measure(SIDES[sys.argv[1]], *map(Path, sys.argv[2:]))
print(json.dumps(found))
"""


def measure(side: Callable[[Path], dict[str, Any]], warm_up: Path, folder: Path) -> dict[str, Any]:
    """What a side finds, its seconds, and its peak of memory in GB above what the process had before.

    ``cpu_s`` counts the processor's time alone, which other work on the machine changes less.
    """
    with one_core():
        side(warm_up)
        cpu_s = time.process_time()
        (figures, seconds), gigabytes = with_peak(lambda: timed(lambda: side(folder)))
        cpu_s = time.process_time() - cpu_s
    return {"figures": figures, "seconds": seconds, "cpu_s": cpu_s, "gigabytes": gigabytes}


def measured(side: str, warm_up: Path, folder: Path, runs: int = 1) -> dict[str, Any]:
    """The quickest of several runs, each in a process of its own; and the processor's time of the ``slowest_s``."""
    command = [sys.executable, "-c", MEASURE, side, str(warm_up), str(folder)]
    found = []
    for _ in range(runs):
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY).stdout
        found.append(json.loads(output))
    fastest: dict[str, Any] = min(found, key=lambda one: one["cpu_s"])
    return fastest | {"slowest_s": max(one["cpu_s"] for one in found)}


def require_equal(figures: dict[str, Any], stock_figures: dict[str, Any]) -> None:
    for budget, named in stock_figures.items():
        for name, value in named.items():
            np.testing.assert_allclose(figures[budget][name], value, atol=1e-9, err_msg=f"{name}@{budget}")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--masks", type=int, default=1000, help="of each image (1000)")
    parser.add_argument("--masks-as", choices=MASKS_AS, default="regions", help="regions have long codes (regions)")
    parser.add_argument("--runs", type=int, default=3, help="of ours, of which the quickest counts (3)")
    arguments = parser.parse_args(argv)
    with TemporaryDirectory() as scratch:
        warm_up, folder = Path(scratch) / "warm up", Path(scratch) / "whole"
        for place, n_images in ((warm_up, 1), (folder, arguments.images)):
            place.mkdir()
            make_input(place, n_images, arguments.masks, arguments.masks_as)
        sides = {side: measured(side, warm_up, folder, arguments.runs) for side in ("ours", "ours_with_intervals")}
        for side in ("pycocotools", *(("faster_coco_eval",) if faster_engine() else ())):
            sides[side] = measured(side, warm_up, folder)
            require_equal(sides["ours"]["figures"], sides[side]["figures"])
    print(
        f"{arguments.images} images x {arguments.masks} {arguments.masks_as} x {TRUTHS_PER_IMAGE} ground truths, "
        f"AR1000 {sides['ours']['figures']['1000']['ar']:.1f}; all figures at budgets {MAX_DETS} are equal to 1e-9"
    )
    print(f"{'':20} processor  (slowest run)    wall clock    memory")
    for side, found in sides.items():
        print(
            f"{side:20} {found['cpu_s']:7.2f} s  ({found['slowest_s']:7.2f} s)  {found['seconds']:10.2f} s  "
            f"{found['gigabytes']:5.2f} GB"
        )
    own, other = sides["ours"], sides["pycocotools"]
    print_figures(
        [
            figure(f"evaluation, {arguments.masks_as}", own["cpu_s"], other["cpu_s"], "s"),
            figure(f"evaluation, {arguments.masks_as}: memory", own["gigabytes"], other["gigabytes"], "GB"),
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

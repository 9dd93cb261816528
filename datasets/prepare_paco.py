"""PACO-LVIS val as an annotation file whose masks are told apart: objects and parts.

Example:
    python datasets/prepare_paco.py $DICO_DATASETS/paco/paco_lvis_v1_val.json $DICO_DATASETS/paco

Source of truth: https://github.com/facebookresearch/paco, docs/PACO_DATASET.md (format and counts: 2,410 images, 10,794
masks of objects, 20,945 of parts) and its notebooks (an object is an annotation whose obj_ann_id is its own id, a part
one whose obj_ann_id is that of its object). A category's supercategory says it, too: OBJECT or PART. An image's
file_name begins with its folder of COCO, train2017 or val2017. The areas of the file are kept, as COCO's evaluation
takes small, medium and large from them.

Not checked against the published file, which was not at hand: that id and supercategory always say the same. The
converter refuses a file in which they do not, one whose parts have no object, one with fewer images, and a folder that
lacks images; it says when there are other counts than published.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dico.command_line import positive
from dico.ground_truth import file_name_of
from training.data.conversion.coco_file import CocoFile, area_of
from training.data.conversion.coco_writer import coco_writer
from training.data.conversion.preparation import require_count, require_file, require_files, run_converter

IMAGES = 2_410
PUBLISHED = {"object": 10_794, "part": 20_945}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 the source is damaged or incomplete, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="paco_lvis_v1_val.json")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder that annotations.json is written in")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="the folder with train2017 and val2017; coco beside OUTPUT"
    )
    parser.add_argument(
        "--expect", type=positive, default=IMAGES, metavar="N", help="refuse fewer than N images (2,410)"
    )
    args = parser.parse_args(argv)
    images = args.images or args.output.resolve().parent / "coco"
    return run_converter(
        "prepare_paco", lambda: prepare_paco(args.source, args.output, images=images, least=args.expect)
    )


def prepare_paco(source: Path, output: Path, *, images: Path, least: int = IMAGES) -> str:
    """Writes ``annotations.json``, whose masks have a ``level``, ``object`` or ``part``.

    Args:
        source: ``paco_lvis_v1_val.json``.
        output: The folder to write to.
        images: The folder that has ``train2017`` and ``val2017``.
        least: How many images there must be.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when the source or images are missing.
        ValueError: when the source is damaged, is not PACO, or has fewer images.
    """
    require_file(source, "paco_lvis_v1_val.json", "unpack paco_lvis_v1.zip, as docs/evaluation.md says")
    file = CocoFile(source)
    require_count(len(file.images), least, source)
    names = {image["id"]: file_name_of(image) for image in file.images}
    require_files(images, sorted(names.values()), "fetch the images of COCO 2017, or name them with --images")
    objects = {one.get("id") for one in file.annotations() if _level(one, file) == "object"}
    levels: Counter[str] = Counter()
    with coco_writer(
        output / "annotations.json", description="PACO-LVIS v1 val", url="https://github.com/facebookresearch/paco"
    ) as writer:
        for key, category in file.categories.items():
            writer.add_category(file.names[key], category_id=key, supercategory=category["supercategory"])
        for key, name in names.items():
            writer.add_image(name, file.sizes_hw[key], image_id=key)
        for one in tqdm(file.annotations(), unit=" masks", disable=None):
            level = _level(one, file)
            if one["obj_ann_id"] not in objects:
                raise ValueError(
                    f"{source}: part {one['id']} is of object {one['obj_ann_id']}, which is not in the file"
                )
            fields = {**area_of(one), "level": level, "source_id": one["id"], "obj_ann_id": one["obj_ann_id"]}
            crowd = bool(one.get("iscrowd", 0))
            written = writer.add_annotation(
                one["image_id"], one.get("segmentation"), category_id=one["category_id"], iscrowd=crowd, **fields
            )
            levels[level] += written is not None
    found = f"{levels['object']:,} objects and {levels['part']:,} parts"
    if levels != PUBLISHED:
        found += f", while {PUBLISHED['object']:,} and {PUBLISHED['part']:,} were published"
    return f"{writer.summary()}: {found}\n{output / 'annotations.json'} is ready; its images are in {images}"


def _level(annotation: Mapping[str, Any], file: CocoFile) -> str:
    """``object`` or ``part``, of which the file speaks in two ways."""
    supercategory = str(file.categories[annotation["category_id"]].get("supercategory"))
    if supercategory not in ("OBJECT", "PART") or not {"id", "obj_ann_id"} <= annotation.keys():
        raise ValueError(
            f"{file.path} is not PACO: annotation {annotation.get('id')} has the supercategory {supercategory} "
            f"(it must be OBJECT or PART) and the obj_ann_id {annotation.get('obj_ann_id')}"
        )
    if (supercategory == "OBJECT") != (annotation["id"] == annotation["obj_ann_id"]):
        raise ValueError(
            f"{file.path}: annotation {annotation['id']} has the supercategory {supercategory} and the obj_ann_id "
            f"{annotation['obj_ann_id']}, which contradict one another: only an object's is its own id"
        )
    return supercategory.lower()


if __name__ == "__main__":
    sys.exit(main())

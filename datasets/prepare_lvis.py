"""LVIS v1 val as an annotation file of its own: on the images of COCO val2017, or with --full on all of its images.

Example:
    python datasets/prepare_lvis.py $DICO_DATASETS/lvis/lvis_v1_val.json $DICO_DATASETS/lvis
    python datasets/prepare_lvis.py $DICO_DATASETS/lvis/lvis_v1_val.json $DICO_DATASETS/lvis_full --full

LVIS v1 val has 19,809 images. 4,809 of them are in COCO val2017, the others in COCO train2017. Without --full the
others are left out, so that LVIS is measured on images on which COCO is.

Source of truth: https://www.lvisdataset.org/dataset (data format, and the note that val takes images of train2017, too)
and https://github.com/lvis-dataset/lvis-api. An image has no file_name, but a coco_url, which ends in the folder and
the name. Masks are polygons. The areas of the file are kept, as COCO's evaluation takes small, medium and large from
them. LVIS is federated: in an image, a category is annotated exhaustively, or known to be absent, or neither; the lists
that say so, neg_category_ids and not_exhaustive_category_ids, are kept with the image.

Not checked against the published file, which was not at hand: the number 4,809, which is that of others' "minival". The
converter refuses a file with fewer images, one with images of other folders, and a folder that lacks images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from dico.command_line import positive
from dico.ground_truth import file_name_of
from training.data.conversion.coco_file import CocoFile, area_of
from training.data.conversion.coco_writer import coco_writer
from training.data.conversion.preparation import require_count, require_file, require_files, run_converter

IN_VAL2017 = 4_809
IN_ALL = 19_809
KEPT_OF_IMAGES = ("neg_category_ids", "not_exhaustive_category_ids", "license")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 the source is damaged or incomplete, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="lvis_v1_val.json")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder that annotations.json is written in")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="the folder with val2017 (and train2017); coco beside OUTPUT"
    )
    parser.add_argument("--full", action="store_true", help="all 19,809 images; needs train2017")
    parser.add_argument(
        "--expect", type=positive, metavar="N", help="refuse fewer than N images (4,809; 19,809 with --full)"
    )
    args = parser.parse_args(argv)
    images = args.images or args.output.resolve().parent / "coco"
    least = args.expect if args.expect is not None else IN_ALL if args.full else IN_VAL2017
    return run_converter(
        "prepare_lvis", lambda: prepare_lvis(args.source, args.output, images=images, full=args.full, least=least)
    )


def prepare_lvis(source: Path, output: Path, *, images: Path, full: bool = False, least: int = IN_VAL2017) -> str:
    """Writes ``annotations.json``.

    Args:
        source: ``lvis_v1_val.json``.
        output: The folder to write to.
        images: The folder that has ``val2017``, and ``train2017`` for all images.
        full: Whether images of train2017 are taken, too.
        least: How many images there must be.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when the source or images are missing.
        ValueError: when the source is damaged, is not LVIS, or has fewer images.
    """
    require_file(source, "lvis_v1_val.json", "unpack lvis_v1_val.json.zip of https://www.lvisdataset.org/dataset")
    file = CocoFile(source)
    names = {image["id"]: _file_name(image, source) for image in file.images}
    kept = {key for key, name in names.items() if full or PurePosixPath(name).parent.name == "val2017"}
    require_count(len(kept), least, source, "images" if full else "images of val2017")
    require_files(
        images, sorted(names[key] for key in kept), "fetch the images of COCO 2017, or name them with --images"
    )
    with coco_writer(
        output / "annotations.json", description="LVIS v1 val", url="https://www.lvisdataset.org", version="1.0"
    ) as writer:
        for category in file.categories.values():
            fields = {key: category[key] for key in ("synset", "frequency") if key in category}
            writer.add_category(file.names[category["id"]], category_id=category["id"], **fields)
        for image in file.images:
            if image["id"] in kept:
                fields = {key: image[key] for key in KEPT_OF_IMAGES if key in image}
                writer.add_image(names[image["id"]], file.sizes_hw[image["id"]], image_id=image["id"], **fields)
        for one in tqdm(file.annotations(), unit=" masks", disable=None):
            if one["image_id"] in kept:
                crowd = bool(one.get("iscrowd", 0))
                fields = {**area_of(one), "source_id": one.get("id")}
                writer.add_annotation(
                    one["image_id"], one.get("segmentation"), category_id=one["category_id"], iscrowd=crowd, **fields
                )
    return f"{writer.summary()}\n{output / 'annotations.json'} is ready; its images are in {images}"


def _file_name(image: dict[str, object], source: Path) -> str:
    if "file_name" not in image and "coco_url" not in image:
        raise ValueError(f"{source} is not LVIS: image {image['id']} has neither coco_url nor file_name")
    name = file_name_of(image)
    if PurePosixPath(name).parent.name not in ("train2017", "val2017"):
        raise ValueError(
            f"{source} is not LVIS v1: image {image['id']}, {name}, is neither of train2017 nor of val2017"
        )
    return name


if __name__ == "__main__":
    sys.exit(main())

"""PartImageNet val as an annotation file of its parts and of the objects that they make up.

Example:
    python datasets/prepare_partimagenet.py $DICO_DATASETS/partimagenet $DICO_DATASETS/partimagenet

SOURCE is PartImageNet_OOD.zip, extracted, with the val.zip inside it extracted, too: val.json, and the images in
val/<synset>/. OUTPUT may be the same folder. This is the first released split, whose val has the 2,956 images of
published tables; PartImageNet_Seg has another val.

Source of truth: https://github.com/TACJu/PartImageNet (README, which counts 2,957 images) and its issues 4 (category_id
is one of 40 parts), 7 and 12. The json follows COCO; a category such as Quadruped Head has the supercategory Quadruped.

The release has masks of parts alone. An object is the union of all parts of one supercategory in an image: several
objects of a kind cannot be told apart, and become one. Where an image has a single mask of a supercategory, that is a
part, and no object is made of it: it would be in the ground truth twice. Crowds are kept as crowds and belong to no
object. The areas of parts are those of the file.

Some polygons have only two points (users have told its authors), for which COCO's code reads a box or fails. A line has
no area, so they are left out, and counted.

Not checked against the published files, which were not at hand: where images lie and how file_name names them. The
converter looks for them in SOURCE, in val, images and images/val, with and without a folder of the synset; it refuses a
source with fewer images in the json or on disk, and one whose categories have no supercategory.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pycocotools import mask as coco_rle
from tqdm import tqdm

from dico.command_line import positive
from dico.ground_truth import file_name_of
from training.data.annotations import code_of
from training.data.conversion.coco_file import CocoFile, area_of
from training.data.conversion.coco_writer import CocoWriter, coco_writer
from training.data.conversion.image_files import gather_images
from training.data.conversion.preparation import require_count, require_files, require_folder, run_converter

IMAGES = 2_956
JSONS = ("val.json", "annotations/val.json", "annotations/val/val.json", "val/val.json")
FOLDERS = ("", "val", "images", "images/val")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 the source is damaged or incomplete, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the extracted folder, with val.json and val")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder that annotations.json is written in")
    parser.add_argument(
        "--expect", type=positive, default=IMAGES, metavar="N", help="refuse fewer than N images (2,956)"
    )
    parser.add_argument("--copy-images", action="store_true", help="copy images to OUTPUT/images rather than link them")
    args = parser.parse_args(argv)
    return run_converter(
        "prepare_partimagenet",
        lambda: prepare_partimagenet(args.source, args.output, least=args.expect, copy=args.copy_images),
    )


def prepare_partimagenet(source: Path, output: Path, *, least: int = IMAGES, copy: bool = False) -> str:
    """Writes ``annotations.json``, whose masks have a ``level``, ``object`` or ``part``, and ``images``.

    Args:
        source: The extracted folder.
        output: The folder to write to.
        least: How many images there must be.
        copy: Whether images are copied to ``images``, rather than linked there.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when the json or images are missing.
        ValueError: when the json is damaged, is not PartImageNet's, or has fewer images.
    """
    require_folder(source, "the folder with val.json and val", "extract PartImageNet_OOD.zip, and the val.zip in it")
    file = CocoFile(_json_of(source))
    require_count(len(file.images), least, file.path)
    kinds = {key: _kind(category, file) for key, category in file.categories.items()}
    images = _images_of(source, file)
    if len({path.name for path in images.values()}) < len(images):
        raise ValueError(f"{file.path} must give every image a name of its own, whatever folder it is in")
    parts: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    lines = 0
    for one in file.annotations():
        areas = _areas(one.get("segmentation"))
        lines += areas != one.get("segmentation")
        parts[one["image_id"]].append({**one, "segmentation": areas})
    how = gather_images({path.name: path for path in images.values()}, output / "images", copy=copy)
    with coco_writer(
        output / "annotations.json", description="PartImageNet val", url="https://github.com/TACJu/PartImageNet"
    ) as writer:
        for key, name in file.names.items():
            writer.add_category(name, category_id=key, supercategory=kinds[key])
        for key, path in tqdm(images.items(), unit=" images", disable=None):
            writer.add_image(path.name, file.sizes_hw[key], image_id=key)
            _write_image(writer, key, parts.get(key, ()), kinds, file.sizes_hw[key])
    bare = sum(key not in parts for key in images)
    return (
        f"{writer.summary()}; {lines:,} annotations have a polygon of two points, {bare:,} images no annotation\n"
        f"{output / 'annotations.json'} is ready; its images are {how} in {output / 'images'}"
    )


def _json_of(source: Path) -> Path:
    found = [source / name for name in JSONS if (source / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"{source} has no val.json: extract PartImageNet_OOD.zip there, and then the val.zip that it holds"
        )
    return found[0]


def _kind(category: Mapping[str, Any], file: CocoFile) -> str:
    kind = category.get("supercategory")
    if not isinstance(kind, str) or not kind:
        raise ValueError(f"{file.path} is not PartImageNet's: category {category['name']} has no supercategory")
    return kind


def _images_of(source: Path, file: CocoFile) -> dict[int, Path]:
    """Where each image lies; the first says how they are named."""
    if not file.images:
        raise ValueError(f"{file.path} must list at least one image")
    listed = {image["id"]: file_name_of(image) for image in file.images}
    first = listed[file.images[0]["id"]]
    for folder in FOLDERS:
        for in_synset in (False, True):
            if (source / folder / _placed(first, in_synset=in_synset)).is_file():
                names = {key: _placed(name, in_synset=in_synset) for key, name in listed.items()}
                require_files(source / folder, names.values(), "extract val.zip again")
                return {key: source / folder / name for key, name in names.items()}
    raise FileNotFoundError(
        f"{source} has no image {first}, nor have val, images and images/val in it; extract the images there"
    )


def _placed(name: str, *, in_synset: bool) -> str:
    """``n02009229_11045.JPEG`` -> ``n02009229/n02009229_11045.JPEG``, where it lies in the folder of its synset."""
    base = PurePosixPath(name).name
    return f"{base.partition('_')[0]}/{base}" if in_synset else name


def _areas(segmentation: Any) -> Any:
    """A segmentation without polygons of fewer than three points, which have no area."""
    if not isinstance(segmentation, list):
        return segmentation
    return [polygon for polygon in segmentation if not isinstance(polygon, list) or len(polygon) >= 6]


def _write_image(
    writer: CocoWriter,
    image_id: int,
    parts: Sequence[Mapping[str, Any]],
    kinds: Mapping[int, str],
    size_hw: tuple[int, int],
) -> None:
    codes: dict[str, list[bytes]] = defaultdict(list)
    for part in parts:
        crowd, kind = bool(part.get("iscrowd", 0)), kinds[part["category_id"]]
        fields = {**area_of(part), "level": "part", "source_id": part.get("id")}
        written = writer.add_annotation(
            image_id, part["segmentation"], category_id=part["category_id"], iscrowd=crowd, **fields
        )
        if written is not None and not crowd:
            codes[kind].append(code_of(part, size_hw, f"image {image_id}"))
    for kind, of_kind in codes.items():
        if len(of_kind) > 1:
            rles = [{"size": list(size_hw), "counts": code} for code in of_kind]
            category_id = writer.add_category(kind, supercategory=kind)
            writer.add_annotation(image_id, coco_rle.merge(rles)["counts"], category_id=category_id, level="object")


if __name__ == "__main__":
    sys.exit(main())

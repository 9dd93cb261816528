"""EntitySeg's 1,314 validation images, at the low resolution that figures are published at, as a COCO file.

Example:
    python datasets/prepare_entityseg.py $DICO_DATASETS/entity/entityseg_val_lr.json $DICO_DATASETS/entity

Writes OUTPUT/annotations.json, and links the images into OUTPUT/images. What is downloaded:
    entityseg_val_lr.json   from the release v1.0 of https://github.com/adobe-research/EntitySeg-Dataset
    images_lr/entity_01_11580/*.jpg, and likewise entity_02_11598 and entity_03_10049, beside it or named with --images

An image is annotated all over with entities, things and stuff alike, that do not overlap. Low resolution is a short
side of 800 and a long side of at most 1,333 pixels; masks were resized by taking the nearest pixel. Areas are those of
the masks, as those of the file may be of the size before. "level" is here whether an entity is a "thing" or "stuff",
where the file's categories say so.

Sources of truth: the README of https://github.com/adobe-research/EntitySeg-Dataset (the fields of images and
annotations; category_id is the same for all, category_id_ori is the category), Entityv2/DATA.md of
https://github.com/qqlu/Entity (folders, low resolution, the type of categories), and loaders of others, by which an
image's file_name begins with the folder of its archive, such as entity_01_11580/coco_000000322352.jpg.

Not checked on the files, which were not at hand: the number of images, whether categories are named by number or name,
whether archives unpack to one folder or to one more. Hence an image is looked for by its file_name, then by its name
alone; polygons, run lengths and compressed codes are read; and the converter refuses another number of images, images
that are missing or ambiguous, and images of another size than their annotations, as those of high resolution are.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from dico.command_line import positive
from dico.ground_truth import file_name_of
from training.data.conversion.coco_file import CocoFile
from training.data.conversion.coco_writer import CocoWriter, coco_writer
from training.data.conversion.image_files import gather_images, image_size_hw
from training.data.conversion.preparation import listed, require_count, require_file, require_folder, run_converter

EXPECTED = 1_314
LONGEST_PX = 1_333


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 the source is damaged or incomplete, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="entityseg_val_lr.json")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder for annotations.json and images")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the folder of images; images_lr beside SOURCE")
    parser.add_argument("--high-resolution", action="store_true", help="take images of any size")
    parser.add_argument("--copy-images", action="store_true", help="copy the images into OUTPUT; else they are linked")
    parser.add_argument(
        "--expect", type=positive, default=EXPECTED, metavar="N", help="refuse other than N images (1,314)"
    )
    args = parser.parse_args(argv)
    return run_converter(
        "prepare_entityseg",
        lambda: prepare_entityseg(
            args.source,
            args.output,
            images=args.images or args.source.parent / "images_lr",
            high_resolution=args.high_resolution,
            expected=args.expect,
            copy_images=args.copy_images,
        ),
    )


def prepare_entityseg(
    source: Path,
    output: Path,
    *,
    images: Path,
    high_resolution: bool = False,
    expected: int = EXPECTED,
    copy_images: bool = False,
) -> str:
    """Writes ``annotations.json`` and makes ``images`` have the images.

    Args:
        source: ``entityseg_val_lr.json``.
        output: The folder to write to.
        images: The folder of the images, searched with its sub-folders.
        high_resolution: Whether images larger than low resolution are taken.
        expected: How many images there must be.
        copy_images: Whether images are copied rather than linked.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when the source or images are missing.
        ValueError: when the source is damaged, has another number of images, or images of another size.
    """
    require_file(source, "entityseg_val_lr.json", "fetch it from the release v1.0 of EntitySeg-Dataset")
    file = CocoFile(source)
    require_count(len(file.images), expected, source)
    if len(file.images) > expected:
        raise ValueError(
            f"{source} has {len(file.images):,} images, more than the {expected:,} of val: is it of train? "
            "(--expect takes another number, for figures of one's own)"
        )
    require_folder(images, "images_lr, with the images", "unpack its archives, or name it with --images")
    files = _image_files(file, images)
    _require_sizes(file, files, high_resolution=high_resolution)
    url = "https://github.com/adobe-research/EntitySeg-Dataset"
    with coco_writer(output / "annotations.json", description=f"EntitySeg val, {source.name}", url=url) as writer:
        categories = _Categories(file, writer)
        for image in file.images:
            writer.add_image(file_name_of(image), file.sizes_hw[image["id"]], image_id=image["id"])
        for one in tqdm(file.annotations(any_category=True), unit=" masks", disable=None):
            category, fields = categories.of(one)
            crowd = bool(one.get("iscrowd", 0))
            writer.add_annotation(
                one["image_id"], one.get("segmentation"), category_id=category, iscrowd=crowd, source_id=one.get("id"),
                **fields,
            )  # fmt: skip
        how = gather_images(files, output / "images", copy=copy_images)
    return f"{writer.summary()}\n{output / 'annotations.json'} is ready; its images are {how}, in 'images' beside it"


class _Categories:
    """The category of an annotation: the number or name in ``category_id_ori``, or else that of all entities."""

    def __init__(self, file: CocoFile, writer: CocoWriter) -> None:
        self._writer = writer
        self._known: dict[str, tuple[int, dict[str, Any]]] = {}
        for number, category in file.categories.items():
            name = str(category["name"])
            more = {key: category[key] for key in ("supercategory", "type") if key in category}
            writer.add_category(name, category_id=number, **more)
            of_annotations = {"level": category["type"]} if "type" in category else {}
            self._known |= {name: (number, of_annotations), str(number): (number, of_annotations)}

    def of(self, annotation: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """The number of its category, and what else is written of it."""
        found = self._known.get(str(annotation.get("category_id_ori")))
        return found if found is not None else (self._writer.add_category("entity"), {})


def _image_files(file: CocoFile, folder: Path) -> dict[str, Path]:
    """Where each image lies, by its ``file_name``."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        by_name[path.name].append(path)
    found: dict[str, Path] = {}
    faults = []
    for name in map(file_name_of, file.images):
        path = PurePosixPath(name)
        candidates = [folder / name] if (folder / name).is_file() else by_name.get(path.name, [])
        if len(candidates) > 1:  # an archive of the same name as another, with a folder more than the file says
            candidates = [one for one in candidates if set(path.parts[:-1]) <= set(one.parts)]
        if len(candidates) == 1:
            found[name] = candidates[0]
        else:
            faults.append(f"{name} ({'missing' if not candidates else f'{len(candidates)} files have its name'})")
    if faults:
        raise FileNotFoundError(
            f"{folder} lacks {len(faults):,} of {len(file.images):,} images; fetch and unpack the archives of "
            f"images_lr, or name their folder with --images:{listed(faults)}"
        )
    return found


def _require_sizes(file: CocoFile, files: Mapping[str, Path], *, high_resolution: bool) -> None:
    faults = []
    for image in tqdm(file.images, unit=" images", disable=None):
        size_hw, path = file.sizes_hw[image["id"]], files[file_name_of(image)]
        if (real_hw := image_size_hw(path)) != size_hw:
            faults.append(f"{path}: {real_hw} (H, W), its annotations are of {size_hw}")
    if faults:
        raise ValueError(
            f"{len(faults):,} images have another size than their annotations; entityseg_val_lr.json goes with the "
            f"images of images_lr:{listed(faults)}"
        )
    longest = max(max(size_hw) for size_hw in file.sizes_hw.values())
    if longest > LONGEST_PX and not high_resolution:
        raise ValueError(
            f"{file.path} has images of up to {longest:,} pixels, low resolution has at most {LONGEST_PX:,}: fetch "
            "entityseg_val_lr.json (--high-resolution takes these, for figures of one's own)"
        )


if __name__ == "__main__":
    sys.exit(main())

"""The 2,000 validation images of ADE20K as a COCO file: of the full release, with parts, or of the challenge.

Examples:
    python datasets/prepare_ade20k.py $DICO_DATASETS/ade/ADE20K_2021_17_01 $DICO_DATASETS/ade
    python datasets/prepare_ade20k.py $DICO_DATASETS/ade/ADEChallengeData2016 $DICO_DATASETS/ade_challenge
    python datasets/prepare_ade20k.py ADEChallengeData2016 ade_challenge_parts --parts ADE20KPart234

Writes OUTPUT/annotations.json, and links the images into OUTPUT/images.

The full release, ADE20K_2021_17_01, has all that its annotators named: things and stuff of 3,688 categories, their
parts, and the parts of parts. "level" says whether a mask is an "object" or a "part". Of each image there are
    images/ADE/validation/<scene>/ADE_val_00000001.jpg
    ..._seg.png       its objects: category R // 10 * 256 + G, object B, which is 0 where nothing is annotated
    ..._parts_1.png   their parts, ..._parts_2.png the parts of those, and so on, likewise
    ....json          of each object the category (name_ndx, name) and whether it is a part (parts.part_level)
    .../instance_000_ADE_val_00000001.png   one object: 255 where it is seen, 128 where something hides it
Masks are what is seen of an object. They are taken from the files of all objects; from those of one object only where
an image has more than 255 of them, which blue cannot tell apart.

The challenge, ADEChallengeData2016, has 150 categories, smaller images and no parts. It comes in two archives:
    images/validation/ADE_val_00000001.jpg
    annotations/validation/ADE_val_00000001.png            category of each pixel, 1 to 150; 0 where there is none
    annotations_instance/validation/ADE_val_00000001.png   category R, 1 to 100, and object G, which is 0 for none
100 of the categories are things, of which each object is a mask; the others are stuff, of which each category is one.

--parts adds the parts of ADE20KPart-234, which others made from ADE20K for the images of the challenge:
    annotations_detectron2_part/validation/ADE_val_00000001.png   category of the part at each pixel, from 0, in 16
                                                                  bits; 65535 where there is no part
Its folder annotations_detectron2_obj is not read: the objects are those of the challenge. A part gives one mask in each
object that it lies in, by annotations_instance, and one where it lies in no object. Each piece of it goes to the object
that has most of it, or to several if each has a tenth of it or more, as borders of parts and of objects differ. Maps of
8 bits with 255 for nothing are read, too, where all maps are of 8 bits. An image without a map has no parts.

Sources of truth: https://github.com/CSAILVision/ADE20K (README, utils) for the full release;
https://github.com/CSAILVision/placeschallenge (instancesegmentation) for the challenge; which of the 150 categories the
100 are: https://github.com/facebookresearch/Mask2Former (datasets/ade20k_instance_catid_mapping.txt); of the parts,
loaders of others of ADE20KPart-234 (Wei et al. 2023, OV-PARTS), which show the folders and that numbers count from 0.

Checked on the three sample images of the first: colours and objects are one to one, and a colour covers the pixels that
the file of its object has at 255 (IoU 0.97 to 1). Not checked on a whole download, which takes a registration, nor on
any file of the challenge or any map of parts, of which none was at hand: it is assumed that maps have the size of the
challenge's images, 16 bits, and 65535 for nothing. Hence it refuses a source that has fewer images, lacks files, has
PNG files of another size or kind, colours that the json does not name, more colours than objects, objects that do not
lie where their category does, or a map that has parts everywhere.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from dico.command_line import positive
from training.data.conversion.ade20k import Picture, challenge_names, read_challenge, read_full
from training.data.conversion.ade20k_parts import PartMaps, open_part_maps
from training.data.conversion.coco_writer import coco_writer
from training.data.conversion.image_files import gather_images, image_size_hw
from training.data.conversion.preparation import listed, require_count, require_folder, run_converter

EXPECTED = 2_000
LEAST_AGREEMENT = 0.5  # were the categories of objects in another order, hardly a pixel would agree


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 the source is damaged or incomplete, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="SOURCE", help="ADE20K_2021_17_01 or ADEChallengeData2016")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder for annotations.json and images")
    parser.add_argument("--no-parts", action="store_true", help="of the full release, objects only")
    parser.add_argument("--parts", type=Path, metavar="FOLDER", help="of the challenge, add parts: ADE20KPart234")
    parser.add_argument(
        "--part-names", type=Path, metavar="FILE", help="names of parts, one a line from 0, or a json ('part 17')"
    )
    parser.add_argument("--no-stuff", action="store_true", help="of the challenge, things only")
    parser.add_argument("--copy-images", action="store_true", help="copy the images into OUTPUT; else they are linked")
    parser.add_argument(
        "--expect", type=positive, default=EXPECTED, metavar="N", help="refuse fewer than N usable images (2,000)"
    )
    args = parser.parse_args(argv)
    if args.part_names and not args.parts:
        parser.error("--part-names are for --parts")
    return run_converter(
        "prepare_ade20k",
        lambda: prepare_ade20k(
            args.source,
            args.output,
            parts=not args.no_parts,
            part_maps=open_part_maps(args.parts, args.part_names) if args.parts else None,
            stuff=not args.no_stuff,
            least=args.expect,
            copy_images=args.copy_images,
        ),
    )


def prepare_ade20k(
    source: Path,
    output: Path,
    *,
    parts: bool = True,
    part_maps: PartMaps | None = None,
    stuff: bool = True,
    least: int = EXPECTED,
    copy_images: bool = False,
) -> str:
    """Writes ``annotations.json`` and makes ``images`` have the images.

    Args:
        source: The folder of the full release, or of the challenge.
        output: The folder to write to.
        parts: Whether the parts of objects are taken, too, of the full release; the challenge has none.
        part_maps: Of the challenge, maps of parts that others made.
        stuff: Whether stuff is taken, too, of the challenge; the full release does not tell it from things.
        least: How many images there must be.
        copy_images: Whether images are copied rather than linked.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when ``source`` is neither.
        ValueError: when it has fewer images whose annotations can be used, with a list of why; when no map of parts is
            of its images, or ``part_maps`` are for the full release, which has parts of its own.
    """
    require_folder(source, "ADE20K_2021_17_01 or ADEChallengeData2016", "fetch either as docs/evaluation.md says")
    folder, read, names = _release(source, parts=parts, stuff=stuff, part_maps=part_maps)
    images = sorted(folder.rglob("ADE_val_*.jpg"), key=lambda image: image.name)
    require_count(len(images), least, folder)
    if part_maps is not None and part_maps.stems.isdisjoint(image.stem for image in images):
        raise ValueError(f"no map of parts in {part_maps.folder} is of an image of {folder}: are they of train?")
    faults: list[str] = []
    usable: dict[str, Path] = {}
    agreements: list[float] = []
    hidden = 0
    url = "https://ade20k.csail.mit.edu"
    with coco_writer(output / "annotations.json", description=f"ADE20K val, {source.name}", url=url) as writer:
        for image in tqdm(images, unit=" images", disable=None):
            try:
                size_hw = image_size_hw(image)
                picture = read(image, size_hw)
            except (OSError, ValueError) as error:
                missing = isinstance(error, FileNotFoundError)
                faults.append(f"{error.filename} is missing; unpack the release again" if missing else str(error))
                continue
            usable[image.name] = image
            agreements.append(picture.agreement)
            hidden += picture.hidden
            image_id = writer.add_image(image.name, size_hw, image_id=int(re.findall(r"\d+", image.stem)[-1]))
            for segment in picture.segments:
                name = names.setdefault(segment.category, picture.names.get(segment.category, ""))
                category = writer.add_category(name or f"category {segment.category}", category_id=segment.category)
                writer.add_annotation(image_id, segment.code, category_id=category, **segment.fields)
        if len(usable) < least:
            raise ValueError(
                f"annotations of {len(faults):,} of {len(images):,} images cannot be used "
                f"(--expect {len(usable)} leaves them out, for figures of one's own):{listed(faults)}"
            )
        _require_agreement(source, [share for share in agreements if not math.isnan(share)])
        how = gather_images(usable, output / "images", copy=copy_images)
    lines = [writer.summary()]
    if hidden:
        lines.append(f"{hidden:,} objects are wholly hidden by others and have no mask")
    if part_maps is not None:
        lines.append(_of_parts(part_maps, [image.stem for image in usable.values()]))
    if faults:
        lines.append(f"{len(faults):,} images are left out:{listed(faults)}")
    return "\n".join([*lines, f"{output / 'annotations.json'} is ready; its images are {how}, in 'images' beside it"])


def _release(
    source: Path, *, parts: bool, stuff: bool, part_maps: PartMaps | None
) -> tuple[Path, Callable[[Path, tuple[int, int]], Picture], dict[int, str]]:
    """Of a release, the folder of its validation images, what reads one of them, and names of categories."""
    full, challenge = source / "images" / "ADE" / "validation", source / "images" / "validation"
    if full.is_dir():
        if part_maps is not None:
            raise ValueError(f"{source} is the full release, which has parts of its own; --parts is for the challenge")
        return full, partial(read_full, parts=parts), {}
    if not challenge.is_dir():
        raise FileNotFoundError(
            f"{source} is no release of ADE20K: it has neither images/ADE/validation, as ADE20K_2021_17_01 has, nor "
            "images/validation, as ADEChallengeData2016 has"
        )
    if any(challenge.glob("*/")):
        raise FileNotFoundError(f"{source} is an older release of ADE20K; fetch ADE20K_2021_17_01")
    for name in ("annotations", "annotations_instance"):
        if not (source / name / "validation").is_dir():
            raise FileNotFoundError(
                f"{source} lacks {name}/validation; of the challenge, fetch ADEChallengeData2016.zip and "
                "annotations_instance.tar, and unpack the second in the folder of the first"
            )
    return challenge, partial(read_challenge, root=source, stuff=stuff, parts=part_maps), challenge_names(source)


def _of_parts(part_maps: PartMaps, stems: Sequence[str]) -> str:
    mapped = len(part_maps.stems.intersection(stems))
    others = len(part_maps.stems) - mapped
    return (
        f"parts: {mapped:,} of {len(stems):,} images have a map, of {part_maps.bits} bits; the others have no parts"
        + (f" ({others:,} maps are of other images)" if others else "")
    )


def _require_agreement(source: Path, shares: Sequence[float]) -> None:
    mean = sum(shares) / len(shares) if shares else 1.0
    if mean < LEAST_AGREEMENT:
        raise ValueError(
            f"{source}: only {mean:.0%} of the pixels of objects have their category in annotations, too; the files in "
            "annotations and annotations_instance are not of the same release"
        )


if __name__ == "__main__":
    sys.exit(main())

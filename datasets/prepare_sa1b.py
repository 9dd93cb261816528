"""A thousand images of SA-1B: those of sa1b_1000.txt, or an own draw from the archives that one has.

Example:
    python datasets/prepare_sa1b.py archives/ $DICO_DATASETS/sa1b
    python datasets/prepare_sa1b.py --archives $DICO_DATASETS/sa1b
    python datasets/prepare_sa1b.py archives/ $DICO_DATASETS/sa1b --draw 1000 --seed 0

SOURCE is a folder with sa_*.tar, or with what they hold, sa_*.jpg and sa_*.json, in whatever sub-folders; or one
archive. Archives are read as a stream, nothing else is extracted. The images of the list that SOURCE has are copied to
OUTPUT, with their jsons. As soon as all are there, annotations.json is written: one archive after the other can be
fetched, given to this command, and deleted. --archives lists those that are still needed.

The list of published figures was never released. Ours is drawn from all ids, so that its images lie in some 640 of the
1,000 archives, of 10 GB each. --draw takes images of a few archives instead. That is another data set, written to
annotations_drawn.json and called sa1b_drawn: its figure must not be put beside those of sa1b.

Source of truth: https://github.com/facebookresearch/segment-anything#dataset (format; sa_images_ids.txt, the list of
ids) and https://ai.meta.com/datasets/segment-anything-downloads (1,000 archives). The release has 11,185,362 images.
A json holds image (image_id, width, height, file_name) and annotations with compressed run lengths.

Not checked against the published files, which were not at hand: whether each of the first 1,000 ids is used, and which
archive has which id. Where one is missing, the converter says in which archive it should be, and takes another id in
its place only when the release's own list, sa_images_ids.txt in SOURCE or OUTPUT, does not have it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from tqdm import tqdm

from dico.atomic import atomic_file
from dico.command_line import positive
from training.data.conversion.coco_file import area_of
from training.data.conversion.coco_writer import coco_writer
from training.data.conversion.image_files import image_size_hw
from training.data.conversion.preparation import run_converter
from training.data.conversion.sa1b_archives import RELEASE_IDS, archives_of, read_ids, released_files
from training.data.conversion.seeded_draw import draw

LIST = Path(__file__).with_name("sa1b_1000.txt")
IMAGES = 1_000
SUFFIXES = ("jpg", "json")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0 done, 1 images are missing or damaged, 2 wrong usage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", metavar="SOURCE", help="a folder of archives or files, or one")
    parser.add_argument("output", type=Path, nargs="?", metavar="OUTPUT", help="the folder to write to")
    parser.add_argument("--ids", type=Path, default=LIST, metavar="FILE", help="the list of ids (sa1b_1000.txt)")
    parser.add_argument("--count", type=positive, default=IMAGES, metavar="N", help="how many ids of the list (1000)")
    parser.add_argument("--draw", type=positive, metavar="N", help="draw N images of SOURCE instead: another data set")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the seed of --draw (0)")
    parser.add_argument("--archives", type=Path, metavar="OUTPUT", help="print the archives that OUTPUT still needs")
    args = parser.parse_args(argv)
    if args.archives:
        return run_converter("prepare_sa1b", lambda: print_archives(args.archives, args.ids, args.count))
    if args.output is None:
        parser.error("SOURCE and OUTPUT are needed")
    if args.draw:
        return run_converter("prepare_sa1b", lambda: prepare_draw(args.source, args.output, args.draw, args.seed))
    return run_converter("prepare_sa1b", lambda: prepare_list(args.source, args.output, args.ids, args.count))


def print_archives(output: Path, ids: Path = LIST, count: int = IMAGES) -> str:
    """Prints the archives that are needed still, one a line; returns how many they are.

    Args:
        output: The folder of the data set.
        ids: The list of ids.
        count: How many of them make the set.

    Raises:
        FileNotFoundError: when there is no such list.
        ValueError: when it is damaged, or has fewer ids.
    """
    needed = _archives(_missing(_listed(ids, count, output), output))
    print("\n".join(needed))
    absent = "" if output.is_dir() else f", as {output} does not exist yet"
    return f"{len(needed):,} archives are needed{absent}"


def prepare_list(source: Path, output: Path, ids: Path = LIST, count: int = IMAGES) -> str:
    """Copies those images of a list that a source has; writes ``annotations.json`` when all are there.

    Args:
        source: A folder of archives or of extracted files, or one archive.
        output: The folder to write to.
        ids: The list of ids.
        count: How many of them make the set.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when images are missing still; with the archives that should have them.
        ValueError: when files are damaged.
    """
    wanted = _listed(ids, count, source, output)
    _collect(source, output, set(_missing(wanted, output)))
    missing = _missing(wanted, output)
    if missing:
        needed = _archives(missing)
        more = f", ... (--archives {output} lists all {len(needed):,})" if len(needed) > 5 else ""
        raise FileNotFoundError(
            f"{len(wanted) - len(missing):,} of {len(wanted):,} images are in {output}; {len(missing):,} are missing, "
            f"such as sa_{missing[0]}; give this command {', '.join(needed[:5])}{more}. An id that its archive does "
            f"not have is replaced by the next of the list when {RELEASE_IDS} of the release is in {output}"
        )
    return _write(output, output / "annotations.json", wanted, description=f"SA-1B, {len(wanted)} images of {ids.name}")


def prepare_draw(source: Path, output: Path, count: int, seed: int) -> str:
    """Writes ``annotations_drawn.json``: an own draw of the images that a source has.

    Args:
        source: A folder of archives or of extracted files, or one archive.
        output: The folder to write to.
        count: How many images.
        seed: Of the draw.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: when the source does not exist.
        ValueError: when it has fewer images, or files are damaged.
    """
    suffixes: dict[str, set[int]] = {suffix: set() for suffix in SUFFIXES}
    for file in tqdm(released_files(source), unit=" files", disable=None):
        suffixes[file.suffix].add(file.image_id)
    whole = suffixes["jpg"] & suffixes["json"]
    if len(whole) < count:
        raise ValueError(f"{source} has {len(whole):,} images with their jsons, fewer than the {count:,} to draw")
    wanted = sorted(draw(whole, count, seed))
    _collect(source, output, set(_missing(wanted, output)))
    text = f"SA-1B, an own draw: {count} of {len(whole)} images by seed {seed}"
    return _write(output, output / "annotations_drawn.json", wanted, description=text) + (
        f"\nThis is {text}. It is not the set of sa1b_1000.txt: report its figure as sa1b_drawn"
    )


def _listed(ids: Path, count: int, *folders: Path) -> list[int]:
    """The first ids of the list that the release has, by its own list where that is at hand; in rising order."""
    listed = list(read_ids(ids))
    for folder in folders:
        if (folder / RELEASE_IDS).is_file():
            released = set(listed).intersection(read_ids(folder / RELEASE_IDS))
            listed = [image_id for image_id in listed if image_id in released]
            break
    if len(listed) < count:
        raise ValueError(f"{ids} has {len(listed):,} ids of the release, fewer than {count:,}")
    return sorted(listed[:count])


def _path(output: Path, image_id: int, suffix: str) -> Path:
    return output / ("images" if suffix == "jpg" else "jsons") / f"sa_{image_id}.{suffix}"


def _missing(wanted: Sequence[int], output: Path) -> list[int]:
    return [one for one in wanted if not all(_path(output, one, suffix).is_file() for suffix in SUFFIXES)]


def _archives(image_ids: Sequence[int]) -> list[str]:
    return sorted({name for image_id in image_ids for name in archives_of(image_id)})


def _collect(source: Path, output: Path, wanted: Collection[int]) -> None:
    """Copies the photographs and jsons of images from a source; what it does not have is left out."""
    left = {(image_id, suffix) for image_id in wanted for suffix in SUFFIXES}
    for file in tqdm(released_files(source), unit=" files", disable=None):
        if (file.image_id, file.suffix) in left:
            with atomic_file(_path(output, file.image_id, file.suffix)) as temporary:
                temporary.write_bytes(file.read())
            left.remove((file.image_id, file.suffix))
        if not left:
            return


def _write(output: Path, path: Path, image_ids: Sequence[int], *, description: str) -> str:
    with coco_writer(path, description=description, url="https://ai.meta.com/datasets/segment-anything") as writer:
        category_id = writer.add_category("object")
        for image_id in tqdm(image_ids, unit=" images", disable=None):
            file = _path(output, image_id, "json")
            try:
                content = json.loads(file.read_bytes())
                image, annotations = content["image"], list(content["annotations"])
                size_hw = (int(image["height"]), int(image["width"]))
                if image["image_id"] != image_id:
                    raise ValueError(f"it is of image {image['image_id']}")
                if (photograph_hw := image_size_hw(_path(output, image_id, "jpg"))) != size_hw:
                    raise ValueError(f"its image has the size (H, W) {photograph_hw}, not {size_hw}")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{file} is damaged ({error!r}); delete it and its image, and fetch them again"
                ) from error
            writer.add_image(f"sa_{image_id}.jpg", size_hw, image_id=image_id)
            for one in annotations:
                fields = {**area_of(one), "source_id": one.get("id")}
                writer.add_annotation(image_id, one.get("segmentation"), category_id=category_id, **fields)
    return f"{writer.summary()}\n{path} is ready; its images are in {output / 'images'}"


if __name__ == "__main__":
    sys.exit(main())

"""What is wrong with a data set: images that it lacks, and images that were not answered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from dico.atomic import atomic_file
from training.data.coco_source import CocoSource
from training.data.panoptic_source import PanopticSource
from training.records import Source
from training.suite.plan import PlannedSet

log = logging.getLogger(__name__)

UNANSWERED = "unanswered.txt"
"""The file, in the folder of a data set, that says which images were not answered and why."""


def shortage(planned: PlannedSet, images: int) -> str:
    """Why a data set is prepared by half, as a sentence; empty when it is not.

    Args:
        planned: The data set.
        images: How many its annotations have.
    """
    expected = planned.description.expected_images
    if images >= expected:
        return ""
    return (
        f"{planned.located.annotations} has {images:,} of {expected:,} images: it was prepared by half; for figures on"
        " these alone, describe it in a YAML file of your own, without expected_images (datasets/README.md)"
    )


def missing_images(paths: Sequence[Path | None], root: Path) -> str:
    """Which images are not there, as a sentence; empty when all are.

    Args:
        paths: Where they should be; None when nobody knows.
        root: The folder that they should be in.
    """
    missing = [path for path in paths if path is None or not path.is_file()]
    if not missing:
        return ""
    first = missing[0]
    if first is None:
        name = "one without a file_name"
    else:
        name = str(first.relative_to(root) if first.is_relative_to(root) else first)
    return (
        f"{len(missing):,} of {len(paths):,} images are not in {root}, such as {name}; a YAML file can name another"
        " folder (datasets/README.md)"
    )


def missing_segments(source: Source) -> str:
    """Which PNG files of panoptic annotations are not there, as a sentence; empty for any other annotations."""
    files = list(source.segment_files()) if isinstance(source, PanopticSource) else []
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return ""
    return f"{len(missing):,} of {len(files):,} PNG files of segments are not there, such as {missing[0]}"


def without_masks(source: Source) -> tuple[str, ...]:
    """What has to be said of annotations that have no mask in their image, which are left out; nothing where all have.

    Such are those without a polygon, or of another size than their image.
    """
    faults = source.faults if isinstance(source, CocoSource) else ()
    if not faults:
        return ()
    have, are = ("annotation has", "is") if len(faults) == 1 else ("annotations have", "are")
    return (f"{len(faults):,} {have} no mask and {are} left out, such as {faults[0]}.",)


def write_faults(planned: PlannedSet, faults: Sequence[tuple[str, str]]) -> str:
    """Writes which images were not answered, and says it.

    Args:
        planned: The data set.
        faults: The name of each image, and why it was not answered; empty when it was.

    Returns:
        Why the data set has no figures, as a sentence: when no image was answered. Else empty.
    """
    lines = [f"{name}: {fault}" for name, fault in faults if fault]
    path = planned.folder / UNANSWERED
    if not lines:
        path.unlink(missing_ok=True)
        return ""
    with atomic_file(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if len(lines) == len(faults):
        return f"none of its {len(faults):,} images could be answered; the first is {lines[0]}"
    log.warning(
        "%s: %s of %s images were not answered, such as %s; all are in %s",
        planned.name,
        f"{len(lines):,}",
        f"{len(faults):,}",
        lines[0],
        path,
    )
    return ""

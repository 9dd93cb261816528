"""Stores in the formats of other tools, written as a stream, whole or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from dico.export.base import ExportReport, LabelledImage, Writer, labelled_images
from dico.export.coco import write_coco
from dico.export.labelstudio import write_labelstudio
from dico.export.parquet import write_parquet
from dico.export.sa1b import write_sa1b
from dico.export.yolo import write_yolo
from dico.store import MaskStore

__all__ = ["FORMATS", "ExportReport", "export_store"]

_WRITERS: MappingProxyType[str, Writer] = MappingProxyType(
    {
        "coco": write_coco,
        "sa1b": write_sa1b,
        "yolo-seg": write_yolo,
        "labelstudio": write_labelstudio,
        "parquet": write_parquet,
    }
)
FORMATS = tuple(_WRITERS)
"""Names of the formats; each one's module says what it holds and what it loses."""


def export_store(store: MaskStore, format: str, output: str | Path) -> ExportReport:
    """Writes the masks of a store in another format.

    Images that failed, or were not labelled yet, are left out and counted in the report.

    Args:
        store: The labels; an unfinished store gives what it has.
        format: One of ``FORMATS``.
        output: A file for ``coco``, ``labelstudio`` and ``parquet``, replaced when it exists; a new or empty folder for
            ``sa1b`` and ``yolo-seg``.

    Returns:
        What was written, and what the format could not hold.

    Raises:
        ValueError: for an unknown format.
        FileExistsError: when the folder holds something.
        IsADirectoryError: when the file is a folder.
        ImportError: when the format needs a package that is not installed.
    """
    if format not in _WRITERS:
        near = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}{hint}")
    n_images = n_masks = 0

    def counted() -> Iterator[LabelledImage]:
        nonlocal n_images, n_masks
        for image in labelled_images(store):
            n_images, n_masks = n_images + 1, n_masks + len(image.masks)
            yield image

    notes = _WRITERS[format](counted(), store.manifest, Path(output))
    status = store.status()
    return ExportReport(format, Path(output), n_images, n_masks, status.failed, status.pending, notes)

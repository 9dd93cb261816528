"""What a tab gives away: its masks as COCO json, and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.demo.pictures import draw_result
from training.demo.session import Answer, Session


def coco_of(session: Session, answer: Answer) -> dict[str, Any]:
    """A COCO document of one image: the mask that is chosen; or of everything all masks, at every granularity.

    Args:
        session: The tab.
        answer: Its answer.

    Returns:
        JSON-ready; annotations are those of :meth:`dico.masks.MaskSet.to_coco`, and the score of a mask is its
        predicted IoU.
    """
    height, width = session.size_hw
    masks = answer.masks if answer.is_everything else answer.shown()
    return {
        "info": {"description": "masks of a promptable model"},
        "licenses": [],
        "categories": [{"id": 1, "name": "object", "supercategory": ""}],
        "images": [{"id": 1, "file_name": session.name, "height": height, "width": width}],
        "annotations": masks.to_coco(),
    }


def write_coco(session: Session, answer: Answer, folder: Path) -> Path:
    """Writes :func:`coco_of` into a folder.

    Returns:
        The file, named after the photograph.
    """
    path = folder / f"{Path(session.name).stem}.json"
    path.write_text(json.dumps(coco_of(session, answer)), encoding="utf-8")
    return path


def write_png(session: Session, answer: Answer, folder: Path) -> Path:
    """Writes :func:`training.demo.pictures.draw_result` into a folder.

    Returns:
        The file, named after the photograph.
    """
    path = folder / f"{Path(session.name).stem}-{'masks' if answer.is_everything else 'mask'}.png"
    draw_result(session.image, answer).save(path)
    return path

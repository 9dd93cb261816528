"""Divide and conquer: images to multi-granular masks.

from dico import PseudoLabeler

masks = PseudoLabeler.from_config()("photo.jpg")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dico.config import load_config
    from dico.labeler import PseudoLabeler
    from dico.labelling import label_images
    from dico.masks import MaskSet
    from dico.store import MaskStore

__all__ = ["MaskSet", "MaskStore", "PseudoLabeler", "label_images", "load_config"]

_HOME = {
    "MaskSet": "dico.masks",
    "MaskStore": "dico.store",
    "PseudoLabeler": "dico.labeler",
    "label_images": "dico.labelling",
    "load_config": "dico.config",
}


def __getattr__(name: str) -> Any:
    """Public names are loaded when they are asked for, so that ``dico --help`` does not wait for numba."""
    if name not in _HOME:
        raise AttributeError(f"module 'dico' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)

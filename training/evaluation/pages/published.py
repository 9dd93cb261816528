"""What others publish for the same sets, to stand beside figures of ours: copied from papers, not measured here.

Sources: "Segment Anything without Supervision" (Wang et al. 2024, arXiv:2406.20081) for UnSAM, and for SAM, SOHES,
CutLER and Semantic-SAM as that paper prints them; MoSA as its own paper does. Every figure is of a whole set by its
authors' code: preparation of the sets, resizing and limits may differ from ours.
"""

from __future__ import annotations

from dataclasses import dataclass

SETS = ("coco", "lvis", "ade20k", "entityseg", "sa1b", "partimagenet", "paco")
"""The seven sets, by the names of their descriptions, in the order in which papers print them."""
SET_TITLES = ("COCO", "LVIS", "ADE20K", "Entity", "SA-1B", "PartImageNet", "PACO")
SET_IMAGES = (5_000, 4_809, 2_000, 1_314, 1_000, 2_956, 2_410)
"""How many images they have: other files may have their names, and are not they."""
POINT_SET, POINT_IMAGES = "coco_panoptic", 5_000
"""The set of the figures for one click."""
BUDGET = 1000
"""Published recall is that of at most so many masks an image."""


@dataclass(frozen=True)
class PublishedRecall:
    """AR of at most 1,000 masks an image, in percent.

    Attributes:
        name: Of the method.
        average: Over the seven sets, as printed: it may differ from the mean of the rounded figures.
        by_set: In the order of ``SETS``; None where nothing is published.
    """

    name: str
    average: float
    by_set: tuple[float | None, ...]


@dataclass(frozen=True)
class PublishedClick:
    """Mean IoU after one click, in percent.

    Attributes:
        name: Of the method.
        max_iou: Of the mask that the method itself thinks best.
        oracle_iou: Of the best of its masks.
    """

    name: str
    max_iou: float
    oracle_iou: float


MODELS = (
    PublishedRecall("SAM ViT-B (supervised)", 42.1, (49.6, 46.1, 45.8, 45.9, 60.8, 28.3, 18.1)),
    PublishedRecall("SOHES", 30.1, (30.5, 29.1, 31.1, 33.5, 33.3, 36.0, 17.1)),
    PublishedRecall("CutLER", 21.8, (28.1, 20.2, 26.3, 23.1, 17.0, 28.7, 8.9)),
    PublishedRecall("UnSAM, 0.1M images", 39.2, (40.5, 37.7, 35.7, 39.6, 41.9, 51.6, 27.5)),
    PublishedRecall("UnSAM, 0.4M images", 41.1, (42.0, 40.5, 37.5, 41.0, 44.5, 52.7, 29.7)),
    PublishedRecall("UnSAM+ (lightly supervised)", 48.8, (52.2, 50.8, 45.3, 49.8, 64.8, 46.0, 32.3)),
    PublishedRecall("MoSA", 42.1, (43.5, 42.2, 38.4, 41.1, 48.2, 52.7, 28.4)),
)
"""Trained models."""
LABELS = (
    PublishedRecall("UnSAM's pseudo-labels, dense CRF", 17.8, (None, None, None, None, 15.3, None, None)),
    PublishedRecall("UnSAM's pseudo-labels, CascadePSP", 21.7, (None, None, None, None, 23.9, None, None)),
)
"""Labels made without training."""
CLICKS = (
    PublishedClick("SAM ViT-B (supervised)", 52.1, 68.2),
    PublishedClick("UnSAM", 40.3, 59.5),
    PublishedClick("UnSAM+ (lightly supervised)", 52.4, 69.5),
    PublishedClick("Semantic-SAM Swin-T (supervised)", 54.5, 73.8),
)

"""What the picture of an evaluated image shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dico.ground_truth import AnnotatedImage
from dico.image import Image
from dico.masks import MaskSet
from training.evaluation.pages.overlays import (
    COLOURS,
    CROWD,
    FOUND,
    MISSED,
    OUTLINE_COLOUR,
    VIEW_SIDE,
    Overlay,
    overlay,
)

SIZE_HW = (60, 100)
LEFT, RIGHT, MIDDLE = (slice(10, 50), slice(5, 35)), (slice(10, 50), slice(65, 95)), (slice(20, 40), slice(42, 58))
GREY = np.full((*SIZE_HW, 3), 100, dtype=np.uint8)


def drawn(*places: tuple[slice, slice], size_hw: tuple[int, int] = SIZE_HW, **fields: Any) -> MaskSet:
    masks_NHW = np.zeros((len(places), *size_hw), dtype=bool)
    for mask_HW, place in zip(masks_NHW, places, strict=True):
        mask_HW[place] = True
    return MaskSet.from_arrays(masks_NHW, **fields)


def truths(
    *places: tuple[slice, slice], crowds: tuple[int, ...] = (), size_hw: tuple[int, int] = SIZE_HW
) -> AnnotatedImage:
    coco = drawn(*places, size_hw=size_hw).to_coco()
    annotations = tuple(one | {"iscrowd": int(g in crowds)} for g, one in enumerate(coco))
    return AnnotatedImage(1, "one.png", size_hw, annotations)


def colour(seen: Overlay, y: int, x: int) -> list[int]:
    return seen.picture[y, x].tolist()


def towards(label: int, at: list[int]) -> bool:
    """Whether grey became the colour of a label, more or less."""
    wanted = np.sign(np.array(COLOURS[label]) - 100)
    return bool((np.sign(np.array(at) - 100) == wanted).all())


def test_found_missed_crowds_and_the_rest_have_their_colours() -> None:
    image = truths(LEFT, RIGHT, MIDDLE, crowds=(2,))
    seen = overlay(GREY, image, drawn(LEFT), max_det=10)
    assert seen.picture.shape == (*SIZE_HW, 3) and seen.picture.dtype == np.uint8
    assert (seen.n_found, seen.n_truths) == (1, 2)
    assert towards(FOUND, colour(seen, 30, 20))
    assert towards(MISSED, colour(seen, 30, 80))
    assert towards(CROWD, colour(seen, 30, 50))
    assert colour(seen, 2, 50) == [100, 100, 100]
    assert colour(seen, 10, 20) == list(OUTLINE_COLOUR)  # the border of the mask that found it
    assert colour(seen, 10, 80) == list(COLOURS[MISSED])  # what nothing found has a border of its own


def test_the_outline_is_of_the_mask_and_not_of_the_truth() -> None:
    shifted = (slice(10, 50), slice(8, 38))
    seen = overlay(GREY, truths(LEFT), drawn(MIDDLE, shifted, score=[0.1, 0.9]), max_det=10)
    assert seen.n_found == 1
    assert colour(seen, 30, 37) == list(OUTLINE_COLOUR)
    assert colour(seen, 30, 5) != list(OUTLINE_COLOUR)
    assert colour(seen, 20, 50) == [100, 100, 100]  # a mask that found nothing is not shown


def test_only_the_best_masks_count() -> None:
    masks = drawn(LEFT, RIGHT, score=[0.1, 0.9])
    seen = overlay(GREY, truths(LEFT, RIGHT), masks, max_det=1)
    assert seen.n_found == 1
    assert towards(MISSED, colour(seen, 30, 20)) and towards(FOUND, colour(seen, 30, 80))


def test_a_part_is_seen_on_its_whole() -> None:
    inner = (slice(20, 40), slice(10, 30))
    for order in ((LEFT, inner), (inner, LEFT)):
        seen = overlay(GREY, truths(*order), drawn(LEFT), max_det=10)
        assert towards(MISSED, colour(seen, 30, 20)) and towards(FOUND, colour(seen, 14, 10))


@pytest.mark.parametrize(
    ("size_hw", "view_hw"), [((30, 960), (15, VIEW_SIDE)), ((1200, 1200), (VIEW_SIDE, VIEW_SIDE)), ((1, 1), (1, 1))]
)
def test_large_images_are_reduced(size_hw: tuple[int, int], view_hw: tuple[int, int]) -> None:
    everything = (slice(None), slice(None))
    photo: Image = np.zeros((*size_hw, 3), dtype=np.uint8)
    seen = overlay(photo, truths(everything, size_hw=size_hw), MaskSet.empty(size_hw), max_det=10)
    assert seen.picture.shape == (*view_hw, 3)
    assert (seen.n_found, seen.n_truths) == (0, 1)


def test_without_ground_truth_the_photograph_is_shown() -> None:
    seen = overlay(GREY, truths(), drawn(LEFT), max_det=10)
    assert (seen.n_found, seen.n_truths) == (0, 0)
    assert (seen.picture == 100).all()


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(60, 90\) pixels .* say \(60, 100\)"):
        overlay(GREY[:, :90], truths(LEFT), drawn(LEFT), max_det=10)
    with pytest.raises(ValueError, match="resized or a rotated copy"):
        overlay(GREY, truths(LEFT), drawn(LEFT, size_hw=(60, 90)), max_det=10)

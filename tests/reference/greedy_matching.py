"""COCO's matching of one image at one threshold and area range, written from its definition with plain lists."""

from __future__ import annotations


def greedy_matching(
    ious: list[list[float]],
    areas: list[float],
    truth_areas: list[float],
    crowds: list[bool],
    threshold: float,
    limits_px: tuple[float, float],
) -> tuple[list[int | None], list[bool]]:
    """The truth that each detection takes, if any, and whether the detection is ignored. Detections come best first.

    A detection takes the truth that it overlaps most, at least as much as the threshold says, of those that no better
    detection took; a crowd can be taken again and again. Truths that do not count (crowds, areas outside the range)
    are for detections that no counted one fits. Of equal overlaps the last truth is taken.
    """
    low_px, high_px = limits_px
    counts = [low_px <= area <= high_px and not crowd for area, crowd in zip(truth_areas, crowds, strict=True)]
    used: set[int] = set()
    taken: list[int | None] = []
    ignored = []
    for d, overlaps in enumerate(ious):
        choice = None
        for wanted in (True, False):
            for g, overlap in enumerate(overlaps):
                if counts[g] != wanted or overlap < threshold or (g in used and not crowds[g]):
                    continue
                if choice is None or counts[choice] != wanted or overlap >= overlaps[choice]:
                    choice = g
            if choice is not None:
                break
        taken.append(choice)
        if choice is None:
            ignored.append(not low_px <= areas[d] <= high_px)
        else:
            used.add(choice)
            ignored.append(not counts[choice])
    return taken, ignored

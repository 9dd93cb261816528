"""All masks of an image, click by click, mask by mask, pixel by pixel: what training.automatic_masks does at once."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dico.masks import MaskSet


def box_of(mask_HW):
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def box_iou(one, other):
    sides = np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)
    shared = sides.prod()
    return shared / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared)


def distinct(boxes, ranks, max_iou):
    """Indices of the boxes that stay, best first."""
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: (-ranks[i], i)):
        if all(box_iou(boxes[index], boxes[other]) <= max_iou for other in kept):
            kept.append(index)
    return kept


def cleaned(mask_HW, min_region_px, min_region_share=0.0):
    """A mask without small holes and pieces, in a frame of background so that holes at its border are none."""
    least_px = max(min_region_px, min_region_share * mask_HW.sum())
    padded_HW = np.pad(mask_HW, 1)
    holes_HW, holes = ndimage.label(~padded_HW, structure=np.ones((3, 3)))
    for hole in range(1, holes + 1):
        here_HW = holes_HW == hole
        if here_HW.sum() < least_px and not here_HW[0, 0]:
            padded_HW = padded_HW | here_HW
    # Column by column, so that of the largest the first begins farthest left.
    pieces_WH, pieces = ndimage.label(padded_HW.T, structure=np.ones((3, 3)))
    pieces_HW = pieces_WH.T
    areas = [(pieces_HW == piece).sum() for piece in range(1, pieces + 1)]
    kept = [piece for piece, area in enumerate(areas, start=1) if area >= least_px]
    kept = kept or ([int(np.argmax(areas)) + 1] if areas else [])
    return np.isin(pieces_HW, kept)[1:-1, 1:-1]


def automatic_masks(predictor, image, config, *, min_region_share, max_masks=1000):
    """Masks of an image without crops, by falling score; clicks are asked one by one."""
    height, width = image.shape[:2]
    predictor.set_image(image)
    found = []
    for row in range(config.points_per_side):
        for column in range(config.points_per_side):
            x = (column + 0.5) / config.points_per_side * width - 0.5
            y = (row + 0.5) / config.points_per_side * height - 0.5
            logits_QHW, iou_Q = predictor.predict(points=[[x, y]], return_logits=True)
            for logits_HW, iou in zip(logits_QHW, iou_Q, strict=True):
                low, high = (logits_HW > -config.stability_offset).sum(), (logits_HW > config.stability_offset).sum()
                mask_HW = logits_HW > 0
                if iou >= config.min_iou and mask_HW.any() and high >= config.min_stability * low:
                    found.append((mask_HW, float(iou)))
    found = [(cleaned(mask, config.min_region_px, min_region_share), iou) for mask, iou in found]
    found = [(mask, iou) for mask, iou in found if mask.sum() >= config.min_region_px]
    kept = distinct([box_of(mask) for mask, _ in found], [iou for _, iou in found], config.max_box_iou)
    found = [found[index] for index in kept]
    order = sorted(range(len(found)), key=lambda i: -found[i][1])[:max_masks]
    masks_NHW = np.array([found[i][0] for i in order]).reshape(-1, height, width)
    return MaskSet.from_arrays(masks_NHW, score=[found[i][1] for i in order])

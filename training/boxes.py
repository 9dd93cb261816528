"""Boxes, written by their centre and size or by their corners; boxes of masks, and what boxes have in common.

Axes: the last one is of a box's four numbers; N masks, H W pixels, S rows or columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_corners(boxes_cxcywh: Tensor) -> Tensor:
    """Boxes by their corners.

    Args:
        boxes_cxcywh: Float (..., 4): centre x, centre y, width, height.

    Returns:
        (..., 4): left, top, right, bottom.

    Example:
        >>> to_corners(torch.tensor([0.5, 0.5, 0.2, 0.4])).tolist() == torch.tensor([0.4, 0.3, 0.6, 0.7]).tolist()
        True
    """
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def to_centre_size(boxes_xyxy: Tensor) -> Tensor:
    """Boxes by their centre and size: the opposite of :func:`to_corners`.

    Args:
        boxes_xyxy: Float (..., 4): left, top, right, bottom.

    Returns:
        (..., 4): centre x, centre y, width, height.

    Example:
        >>> to_centre_size(torch.tensor([0.0, 0.0, 0.5, 1.0])).tolist()
        [0.25, 0.5, 0.5, 1.0]
    """
    first, last = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat(((first + last) / 2, last - first), dim=-1)


def boxes_of_masks(masks_NHW: Tensor) -> Tensor:
    """The bounding box of each mask.

    Args:
        masks_NHW: bool or uint8 0/1 (N, H, W).

    Returns:
        float32 (N, 4): centre x, centre y, width, height, as shares of the frame; zeros for an empty mask.

    Example:
        >>> masks_NHW = torch.zeros(1, 4, 8, dtype=torch.bool)
        >>> masks_NHW[0, 1:3, 4:] = True
        >>> boxes_of_masks(masks_NHW).tolist()
        [[0.75, 0.5, 0.5, 0.5]]
    """
    if not masks_NHW.numel():
        return torch.zeros(len(masks_NHW), 4, device=masks_NHW.device)
    bytes_NHW = masks_NHW.view(torch.uint8)  # the maximum of bytes takes a tenth of the time of "any"
    corners = []
    for filled_NS in (bytes_NHW.amax(dim=1), bytes_NHW.amax(dim=2)):
        first_N, after_N = filled_NS.argmax(dim=1), filled_NS.shape[1] - filled_NS.flip(1).argmax(dim=1)
        corners.append(torch.stack((first_N, after_N), dim=1) / filled_NS.shape[1])
    of_x_N2, of_y_N2 = corners
    boxes_xyxy = torch.stack((of_x_N2, of_y_N2), dim=2).flatten(1)
    return to_centre_size(boxes_xyxy) * bytes_NHW.flatten(1).amax(dim=1)[:, None]


def box_overlap(boxes_xyxy: Tensor, others_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes, plain and generalised (Rezatofighi et al. 2019).

    The generalised one is less by the share of the smallest box around both that neither covers: so it falls with the
    distance of boxes that have nothing in common.

    Args:
        boxes_xyxy: Float (..., 4): left, top, right, bottom; not before left and top.
        others_xyxy: The same, of a shape that can be broadcast with the first.

    Returns:
        (...) twice: within [0, 1], and within [-1, 1].

    Example:
        >>> box, other = torch.tensor([0.0, 0.0, 0.5, 1.0]), torch.tensor([0.5, 0.0, 1.0, 0.5])
        >>> [value.item() for value in box_overlap(box, other)]
        [0.0, -0.25]
    """
    tiny = torch.finfo(boxes_xyxy.dtype).tiny
    (first, last), (other_first, other_last) = boxes_xyxy.chunk(2, dim=-1), others_xyxy.chunk(2, dim=-1)
    shared = (torch.minimum(last, other_last) - torch.maximum(first, other_first)).clamp(min=0).prod(dim=-1)
    union = (last - first).prod(dim=-1) + (other_last - other_first).prod(dim=-1) - shared
    around = (torch.maximum(last, other_last) - torch.minimum(first, other_first)).prod(dim=-1)
    iou = shared / union.clamp(min=tiny)
    return iou, iou - (around - union) / around.clamp(min=tiny)

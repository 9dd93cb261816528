"""Masks as the compressed run-length codes of COCO: written, read and measured by pycocotools.

:mod:`dico.rle` has what pycocotools does not offer.

Axes: N and M codes of masks of one image, H W pixels of it. Boxes are half-open xyxy in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_rle

_AREAS_A_CALL = 128  # pycocotools 2.0.11 fails on a list of 256 codes or more with NumPy 2


def encode_mask(mask_HW: NDArray[Any]) -> bytes:
    """The compressed COCO run-length code of one mask.

    Args:
        mask_HW: bool or 0/1 (H, W).

    Returns:
        The ``counts`` bytes.

    Example:
        >>> decode_mask((2, 2), encode_mask(np.eye(2, dtype=bool))).tolist()
        [[True, False], [False, True]]
    """
    fortran_HW1 = np.asfortranarray(np.asarray(mask_HW, dtype=np.uint8)[:, :, None])
    counts: bytes = coco_rle.encode(fortran_HW1)[0]["counts"]
    return counts


def decode_mask(size_hw: tuple[int, int], rle: bytes) -> NDArray[np.bool_]:
    """bool (H, W): the mask that :func:`encode_mask` encoded for an image of ``size_hw`` pixels."""
    return np.asarray(coco_rle.decode({"size": list(size_hw), "counts": rle}), dtype=bool)


def rle_dicts(size_hw: tuple[int, int], rles: Sequence[bytes]) -> list[dict[str, Any]]:
    """N ``{"size": [H, W], "counts": bytes}`` as ``pycocotools.mask`` takes them."""
    return [{"size": list(size_hw), "counts": rle} for rle in rles]


def areas_px(size_hw: tuple[int, int], rles: Sequence[bytes]) -> NDArray[np.int64]:
    """int64 (N,): the number of pixels of each mask.

    Example:
        >>> areas_px((2, 3), [encode_mask(np.ones((2, 3))), encode_mask(np.eye(2, 3))]).tolist()
        [6, 2]
    """
    dicts = rle_dicts(size_hw, rles)
    areas = [coco_rle.area(dicts[start : start + _AREAS_A_CALL]) for start in range(0, len(dicts), _AREAS_A_CALL)]
    return np.concatenate([np.zeros(0, np.int64), *areas]).astype(np.int64, copy=False)


def boxes_xyxy(size_hw: tuple[int, int], rles: Sequence[bytes]) -> NDArray[np.float32]:
    """float32 (N, 4): bounding boxes x0, y0, x1, y1; zeros for an empty mask.

    Example:
        >>> boxes_xyxy((2, 3), [encode_mask(np.eye(2, 3))]).tolist()
        [[0.0, 0.0, 2.0, 2.0]]
    """
    boxes_xywh = np.asarray(coco_rle.toBbox(rle_dicts(size_hw, rles)), dtype=np.float32).reshape(len(rles), 4)
    boxes_xywh[:, 2:] += boxes_xywh[:, :2]
    return boxes_xywh


def overlap(
    size_hw: tuple[int, int], rles: Sequence[bytes], others: Sequence[bytes], *, of_first: bool = False
) -> NDArray[np.float64]:
    """float64 (N, M) in [0, 1]: intersection over union of masks, each with each.

    Args:
        size_hw: Of the image, in pixels.
        rles: N codes.
        others: M codes.
        of_first: Divide by the area of the first mask alone: the share of it that lies inside the other.

    Example:
        >>> whole, part = encode_mask(np.ones((2, 2))), encode_mask(np.eye(2))
        >>> overlap((2, 2), [part], [whole, part]).tolist(), overlap((2, 2), [part], [whole], of_first=True).tolist()
        ([[0.5, 1.0]], [[1.0]])
    """
    if not rles or not others:
        return np.zeros((len(rles), len(others)))
    # In pycocotools a "crowd" ground truth divides the intersection by the area of the detection alone.
    is_crowd = [int(of_first)] * len(others)
    ious_NM = coco_rle.iou(rle_dicts(size_hw, rles), rle_dicts(size_hw, others), is_crowd)
    return np.asarray(ious_NM, dtype=np.float64)

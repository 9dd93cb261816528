"""Borders from a guided filter: cheap, and nothing to install.

Axes: w h pixels of a view or of a part of one, column-major like the codes of masks; X pixels in a line; R lines in
reach of a window; Q quantities.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from dico.config import RefineConfig
from dico.image import Image
from dico.masks import MaskSet
from dico.refine.base import View, look, replace_masks, surroundings, whole
from dico.refine.contrast import Colours
from dico.window import Box


class GuidedFilter:
    """Each mask is filtered with the image as guide, in a view of its own, and cut at one half."""

    def __init__(self, config: RefineConfig) -> None:
        self.config = config

    def refine(self, image: Image, masks: MaskSet) -> MaskSet:
        """The masks with their borders on the image's edges; as :class:`dico.refine.base.Refiner` says."""
        masks = masks[masks.area_px > 0]
        everything = whole(image, self.config.max_side)
        colours_of_everything = Colours.of(everything.pixels_hw3)
        rles = []
        for rle, box in zip(masks.rles, masks.boxes_xyxy.astype(int).tolist(), strict=True):
            near = surroundings(box, masks.size_hw)
            if near is None:
                view, colours = everything, colours_of_everything
            else:
                view = look(image, near, self.config.max_side // 2)
                colours = Colours.of(view.pixels_hw3)
            rles.append(self._refined(view, colours, rle, box))
        return replace_masks(masks, rles, self.config)

    def _refined(self, view: View, colours: Colours, rle: bytes, box_xyxy: Box) -> bytes:
        mask_wh = view.decode(rle).T
        # A window much larger than the mask would see mostly background and rub the mask out.
        radius = min(self.config.guided_radius, max(1, round(np.count_nonzero(mask_wh) ** 0.5 / 4)))
        # Windows of windows reach twice their radius. Farther away all is background, and stays background; and what is
        # reflected at the border of that part is background too, so the part alone gives what the view would.
        x0, y0, x1, y1 = view.around(box_xyxy, 2 * radius)
        part = slice(x0, x1), slice(y0, y1)
        guide_wh = colours.along_contrast(mask_wh[part], part)
        soft_wh = guided_filter(guide_wh, mask_wh[part], radius=radius, eps=self.config.guided_eps)
        return view.encode(soft_wh.T, corner_hw=(y0, x0))


def guided_filter(
    guide_hw: NDArray[np.floating], input_hw: NDArray[np.floating] | NDArray[np.bool_], *, radius: int, eps: float
) -> NDArray[np.float32]:
    """The input, smoothed, with its edges where the guide has edges.

    He, Sun and Tang, Guided Image Filtering (2013), Algorithm 1, for one channel. Deviation: windows that leave the
    image are completed by reflection instead of cut, which spares the division by their sizes.

    Args:
        guide_hw: (h, w), in units in which ``eps`` is meant; the nearer to 0, the less is lost to rounding.
        input_hw: (h, w), to be filtered.
        radius: Windows have 2 x radius + 1 pixels a side.
        eps: Guides that vary less than this in a window are flat there: the input is averaged.

    Returns:
        float32 (h, w).

    Example:
        >>> guided_filter(np.zeros((3, 3)), np.eye(3), radius=1, eps=1e-3).shape
        (3, 3)
    """
    return _filter(np.asarray(guide_hw, dtype=np.float32), np.asarray(input_hw, dtype=np.float32), radius, eps)


@numba.njit(cache=True)
def _filter(
    guide_hw: NDArray[np.float32], input_hw: NDArray[np.float32], radius: int, eps: float
) -> NDArray[np.float32]:
    """Line by line, with running sums down the columns: what it works on stays in the processor's cache."""
    height, width = guide_hw.shape
    side = 2 * radius + 1
    share = np.float32(1 / side**2)
    filtered_hw = np.empty((height, width), dtype=np.float32)
    # Of the guide, the input, their product and the guide squared: sums over the lines in reach.
    columns_QX = np.zeros((4, width + 2 * radius), dtype=np.float32)
    windows_X = np.empty(width, dtype=np.float32)  # of the input: sums over windows
    # Of slope and intercept: a line, the sums across it for each of the lines in reach, and the sum of these.
    line_QX = np.empty((2, width + 2 * radius), dtype=np.float32)
    across_RQX = np.zeros((side, 2, width), dtype=np.float32)
    total_QX = np.zeros((2, width), dtype=np.float32)
    nothing_X = np.zeros(width, dtype=np.float32)
    for y in range(-radius - side, height + radius):
        gone, new = _reflected(y - radius - 1, height), _reflected(y + radius, height)
        if y < -radius:  # the sums begin
            _slide(columns_QX, nothing_X, nothing_X, guide_hw[new], input_hw[new])
            continue
        _slide(columns_QX, guide_hw[gone], input_hw[gone], guide_hw[new], input_hw[new])
        for q in range(4):
            _reflect_ends(columns_QX[q], radius)
        _sum_across(columns_QX[1], windows_X)
        _fit(columns_QX, windows_X, np.float32(eps), line_QX)
        for q in range(2):
            total_X, across_X = total_QX[q], across_RQX[(y + radius) % side, q]
            for x in range(width):
                total_X[x] -= across_X[x]
            _reflect_ends(line_QX[q], radius)
            _sum_across(line_QX[q], across_X)
            for x in range(width):
                total_X[x] += across_X[x]
        if y >= radius:
            filtered_X, guide_X = filtered_hw[y - radius], guide_hw[y - radius]
            slopes_X, intercepts_X = total_QX
            for x in range(width):
                filtered_X[x] = share * (slopes_X[x] * guide_X[x] + intercepts_X[x])
    return filtered_hw


@numba.njit(cache=True)
def _slide(
    columns_QX: NDArray[np.float32],
    guide_gone_X: NDArray[np.float32],
    input_gone_X: NDArray[np.float32],
    guide_new_X: NDArray[np.float32],
    input_new_X: NDArray[np.float32],
) -> None:
    """One line more and one less in the sums down the columns."""
    width = len(guide_new_X)
    radius = (columns_QX.shape[1] - width) // 2
    guide_X, input_X = columns_QX[0, radius:], columns_QX[1, radius:]
    product_X, square_X = columns_QX[2, radius:], columns_QX[3, radius:]
    for x in range(width):  # a loop for each: the compiler makes vectors of these, and not of one loop for all
        guide_X[x] += guide_new_X[x] - guide_gone_X[x]
    for x in range(width):
        input_X[x] += input_new_X[x] - input_gone_X[x]
    for x in range(width):
        product_X[x] += guide_new_X[x] * input_new_X[x] - guide_gone_X[x] * input_gone_X[x]
    for x in range(width):
        square_X[x] += guide_new_X[x] * guide_new_X[x] - guide_gone_X[x] * guide_gone_X[x]


@numba.njit(cache=True)
def _reflect_ends(line_X: NDArray[np.float32], radius: int) -> None:
    """Fills the ``radius`` places before and behind a line with its mirror image."""
    width = len(line_X) - 2 * radius
    for k in range(radius):
        line_X[radius - 1 - k] = line_X[radius + _reflected(k, width)]
        line_X[radius + width + k] = line_X[radius + _reflected(width + k, width)]


@numba.njit(cache=True)
def _sum_across(line_X: NDArray[np.float32], sums_X: NDArray[np.float32]) -> None:
    """Sums over windows; the line has half a window more than the sums at both ends."""
    radius = (len(line_X) - len(sums_X)) // 2
    centre_X = line_X[radius:]
    for x in range(len(sums_X)):
        sums_X[x] = centre_X[x]
    for k in range(1, radius + 1):
        left_X, right_X = line_X[radius - k :], line_X[radius + k :]
        for x in range(len(sums_X)):
            sums_X[x] += left_X[x] + right_X[x]


@numba.njit(cache=True)
def _fit(
    columns_QX: NDArray[np.float32], windows_X: NDArray[np.float32], eps: np.float32, line_QX: NDArray[np.float32]
) -> None:
    """Slope and intercept of the input on the guide in each window of a line, given the sums of the input.

    Most windows of a mask see only mask or only background: there the slope is 0, and nothing else is summed.
    """
    width = len(windows_X)
    side = columns_QX.shape[1] - width + 1
    radius, full, share = side // 2, np.float32(side**2), np.float32(1 / side**2)
    columns_guide_X, columns_product_X, columns_square_X = columns_QX[0], columns_QX[2], columns_QX[3]
    slope_X, intercept_X = line_QX[0, radius:], line_QX[1, radius:]
    guide, product, square, summed = np.float32(0), np.float32(0), np.float32(0), -2  # the window they are the sums of
    for x in range(width):
        mean_input = share * windows_X[x]
        if windows_X[x] == 0 or windows_X[x] == full:
            slope_X[x], intercept_X[x] = 0, mean_input
            continue
        if summed == x - 1:
            guide += columns_guide_X[x + side - 1] - columns_guide_X[x - 1]
            product += columns_product_X[x + side - 1] - columns_product_X[x - 1]
            square += columns_square_X[x + side - 1] - columns_square_X[x - 1]
        else:
            guide, product, square = np.float32(0), np.float32(0), np.float32(0)
            for k in range(x, x + side):
                guide += columns_guide_X[k]
                product += columns_product_X[k]
                square += columns_square_X[k]
        summed = x
        mean_guide = share * guide
        covariance = share * product - mean_guide * mean_input
        variance = max(share * square - mean_guide * mean_guide, np.float32(0))  # rounding can take it below 0
        slope_X[x] = covariance / (variance + eps)
        intercept_X[x] = mean_input - slope_X[x] * mean_guide


@numba.njit(cache=True)
def _reflected(i: int, n: int) -> int:
    """Where index ``i`` lies in a line of ``n`` that goes on as its mirror image, back and forth."""
    i %= 2 * n
    return i if i < n else 2 * n - 1 - i
